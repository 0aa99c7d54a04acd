"""StableAnimator's networks in Paddle, float32 and unoptimised: the truth every engine is certified against."""
