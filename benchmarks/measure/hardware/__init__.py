"""The machine that is measured on: what it is, what it can do at most, and the device memory a process takes."""
