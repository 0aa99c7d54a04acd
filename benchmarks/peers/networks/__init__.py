"""StableAnimator's networks in PyTorch, one module each."""
