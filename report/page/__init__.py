"""One HTML page about finished runs, which opens from a disk: see ``report/__main__.py``."""
