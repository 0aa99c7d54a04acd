"""What is kept of jobs: rows and events in SQLite, files in a folder each."""
