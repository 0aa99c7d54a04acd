"""Engines made of engines."""
