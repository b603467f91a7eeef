"""One object per image, rescaled about its centre by a random factor that is known: MNIST-scale, and its kind."""
