"""Foreign files: bounded and looked at before a job is accepted, in a process of their own."""
