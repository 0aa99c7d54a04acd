"""A case: the reference image, poses, masks and identity of one animation."""
