"""sa-bench merge: makes one HTML page and one Markdown file of the result files of any number of machines."""
