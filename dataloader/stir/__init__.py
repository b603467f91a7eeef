"""Objects of one class at 48 sizes, each on a canvas of 64 x 64 pixels: the data of the STIR study, and of its kind."""
