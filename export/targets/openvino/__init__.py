"""Engines for OpenVINO."""
