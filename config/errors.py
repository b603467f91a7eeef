"""The error and the warning that settings can cause, and the check that raises the error."""


class ConfigError(ValueError):
    """A setting that cannot be meant; the message says what was given and what would be right."""


class SettingWarning(UserWarning):
    """A setting that is taken otherwise than it is written; scripts print it as one line."""


def require(is_right: bool, message: str) -> None:
    """A message begins with the name of the setting, to which the reader of recipes adds file, recipe and section."""
    if not is_right:
        raise ConfigError(message)
