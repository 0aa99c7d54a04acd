"""sa-bench run: contenders, their processes, and what is measured."""
