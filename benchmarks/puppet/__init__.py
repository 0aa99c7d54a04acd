"""Puppets: drawn people whose every pixel, joint and identity is known, and the small model taught on them."""
