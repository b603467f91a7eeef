"""Data sets, and the plain arrays that they are made of."""
