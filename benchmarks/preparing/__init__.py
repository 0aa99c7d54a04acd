"""What sa-prepare makes of drawn people whose truth is known."""
