"""The attention of every pixel to itself in the other frames, on tensors that keep the frames outermost."""
