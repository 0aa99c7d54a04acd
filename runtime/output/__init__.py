"""Writes the results of a run, completely or not at all."""
