"""The HJB face refinement."""
