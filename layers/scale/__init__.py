"""Layers of scale-equivariant networks, each usable on its own: one idea per file.

A lifted tensor is (B, C, S, H, W): the scale axis is always dim 2.
"""
