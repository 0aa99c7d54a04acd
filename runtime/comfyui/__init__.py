"""The ComfyUI node pack: `pack/` is what ComfyUI loads, all else here knows nothing of it."""
