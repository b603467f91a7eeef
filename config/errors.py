"""The error that every setting can cause, and the check that raises it."""


class ConfigError(ValueError):
    """A setting that cannot be meant; the message says what was given and what would be right."""


def require(is_right: bool, message: str) -> None:
    """A message begins with the name of the setting, to which the reader of recipes adds file, recipe and section."""
    if not is_right:
        raise ConfigError(message)
