"""What comes out: poses, face masks, the preview."""
