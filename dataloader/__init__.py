"""What is trained on and judged by: a folder per kind of data, and beside them what all kinds share."""
