"""StableAnimator's networks in Paddle, float32 and unoptimised: the reference that engines are certified against."""
