"""Training: one loop under every method and all training scripts."""
