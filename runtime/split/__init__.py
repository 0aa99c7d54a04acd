"""One video on several devices: the tiles of a step are spread over processes."""
