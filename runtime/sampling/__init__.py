"""From noise to latents: sigmas, tiles, guidance and the Euler loop."""
