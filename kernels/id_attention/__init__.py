"""The identity attention of a spatial block and its residual, in two passes over the tokens."""
