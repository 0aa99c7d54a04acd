"""Engines that are composed of other engines."""
