"""What stops a run with one message instead of a traceback."""


class RunError(RuntimeError):
    """A run that cannot start or go on; what was saved before stays loadable."""
