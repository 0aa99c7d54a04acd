"""Which person is followed, and how the poses are aligned."""
