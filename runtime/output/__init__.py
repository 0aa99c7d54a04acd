"""What comes out of a run, whole or not at all."""
