"""What is animated: a reference image, poses, masks and an identity."""
