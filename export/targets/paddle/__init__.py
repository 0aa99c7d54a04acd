"""Engines for Paddle Inference."""
