"""Which engines a set has, and the program of each."""
