"""Measurements: each is a ratio between things run side by side on one machine."""
