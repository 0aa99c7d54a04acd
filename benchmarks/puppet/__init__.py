"""Puppets: drawn people whose pixels, joints and identities are all known, and the small model trained on them."""

from pathlib import Path

from sa.runtime.system.hashing import sha256

CHECKPOINT = Path(__file__).parent / "checkpoint"  # StableAnimator's published layout, and the judges beside it
PRESET = "demo-128"  # the shapes it was trained at
STEPS, GUIDANCE = 15, 1.0  # what puppets are animated with by default


def file_hashes(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of a checkpoint's weights and configurations by their path in it; none if there is no checkpoint."""
    paths = sorted(path for kind in ("safetensors", "json") for path in checkpoint.rglob(f"*.{kind}"))
    return {path.relative_to(checkpoint).as_posix(): sha256(path) for path in paths}
