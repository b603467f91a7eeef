"""Labelled pictures: class folders, shards, Hugging Face sets, and shapes that are drawn on the spot."""
