"""GroupNorm and SiLU over the frames of a clip, on tensors that keep the frames outermost."""
