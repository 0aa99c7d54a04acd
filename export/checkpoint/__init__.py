"""Reads checkpoint folders: configs, and weights by name."""
