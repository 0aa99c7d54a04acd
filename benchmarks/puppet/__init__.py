"""Puppets: drawn people whose pixels, joints and identities are all known, and the small model trained on them."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"  # StableAnimator's published layout, and the judges beside it
PRESET = "demo-128"  # the shapes it was trained at
STEPS, GUIDANCE = 15, 1.0  # what puppets are animated with by default
