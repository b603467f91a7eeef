"""What DEC is made of, for torch alone: monotone warps, fixed points, canonicalizers, layouts of features."""
