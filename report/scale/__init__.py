"""Runs on objects at many sizes, compared under one protocol: a table, and the figures of the field."""
