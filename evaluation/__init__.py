"""What a trained model is worth: metrics of any callable from images to logits."""
