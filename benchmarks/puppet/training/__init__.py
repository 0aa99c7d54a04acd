"""make puppet: the puppet checkpoint's training in PyTorch, one stage after the other, each resumable."""
