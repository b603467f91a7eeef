"""Files in the published flat format, read as they stand."""
