"""The networks: persons, poses, faces."""
