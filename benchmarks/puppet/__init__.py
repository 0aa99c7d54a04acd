"""Puppets: drawn people whose every pixel, joint and identity is known, and the small model taught on them."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"  # StableAnimator's published layout, and the judges beside it
