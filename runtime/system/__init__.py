"""What the operating system gives and takes: memory, processors, signals, and hashes of files."""
