"""How messages show a value, and guess what was meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def shown(value: Any) -> str:
    """A value as a user wrote it, shortened."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def suggestion(name: Any, known: Iterable[str]) -> str:
    """ "Did you mean ...?", or the empty text where nothing is near."""
    near = get_close_matches(str(name), list(known), n=1)
    return f"Did you mean '{near[0]}'?" if near else ""
