"""Rows of handwritten digits, each at a scale of its own."""
