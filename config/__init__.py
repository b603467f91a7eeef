"""Recipes: what can be set, how files are read, and the published settings."""
