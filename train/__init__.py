"""Training: one loop under every method and both scripts."""
