"""A run from a case to frames, without console, signals or folders of its own."""
