"""The ID attention of a spatial block, with its LayerNorm and residual, in two passes over the tokens."""
