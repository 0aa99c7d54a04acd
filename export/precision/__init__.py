"""fp16: measured ranges, and fp16 without fp16 hardware."""
