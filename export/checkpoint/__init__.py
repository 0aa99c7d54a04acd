"""A checkpoint folder: its configs, and its weights by name."""
