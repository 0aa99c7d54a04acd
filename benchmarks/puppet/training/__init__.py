"""The puppet checkpoint's training in PyTorch, in stages that can be interrupted and resumed."""
