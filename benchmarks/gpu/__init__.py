"""Engine sets for a machine with a GPU, without their weights: packed on one machine, drawn again on another."""
