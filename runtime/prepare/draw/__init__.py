"""The output: poses, face masks and the preview."""
