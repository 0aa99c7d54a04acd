"""An engine set on disk: verified, planned for, opened."""
