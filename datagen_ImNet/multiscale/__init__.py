"""Multi-scale sets of pictures: find an object, take it out, and put it back at several scales."""
