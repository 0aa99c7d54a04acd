"""Engine sets on disk: verify them, plan their memory, open them."""
