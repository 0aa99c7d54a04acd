"""The puppet's networks in PyTorch alone: what they are trained as, on machines that have no other library."""
