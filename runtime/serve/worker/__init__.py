"""The process that works on jobs, one per device, and who watches it."""
