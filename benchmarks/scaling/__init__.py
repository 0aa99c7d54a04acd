"""How work spreads over devices: a fleet simulated, and the tiles of one video measured."""
