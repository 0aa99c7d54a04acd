"""Puppets: drawn people whose every pixel, joint and identity is known, and the small model taught on them."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"  # StableAnimator's published layout, and the judges beside it
PRESET = "demo-128"  # the shapes it was taught at
STEPS, GUIDANCE = 15, 1.0  # what it is animated with, unless something else is said
