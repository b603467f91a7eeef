"""How messages show a value, and guess what was meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

MOST, SOME = 10, 5  # names that a message lists whole, and those that it picks of more


def shown(value: Any) -> str:
    """A value as a user wrote it, shortened."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def expected(name: str, known: Sequence[str]) -> str:
    """What might have been meant by a name: a near one, or all that are known, or some of many."""
    if hint := suggestion(name, known):
        return hint
    if not known:
        return "There is no other one"
    if len(known) <= MOST:
        return f"Expected one of {', '.join(known)}"
    return f"Expected one of {len(known)}, such as {', '.join(get_close_matches(name, known, SOME, cutoff=0))}"


def suggestion(name: Any, known: Iterable[str]) -> str:
    """ "Did you mean ...?", or the empty text where nothing is near."""
    near = get_close_matches(str(name), list(known), n=1)
    return f"Did you mean '{near[0]}'?" if near else ""
