"""sa-bench merge: result files of any number of machines become one page and one Markdown file."""
