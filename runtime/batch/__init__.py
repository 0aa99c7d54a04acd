"""sa-batch: many cases on many devices."""
