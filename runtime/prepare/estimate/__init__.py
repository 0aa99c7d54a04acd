"""The networks for persons, poses and faces."""
