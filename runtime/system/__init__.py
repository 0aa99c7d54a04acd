"""The operating system: memory, processors, signals, and hashes of files."""
