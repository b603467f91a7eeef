"""How a model whose weights are not there is reported; knows no library that could read them."""

from multiscale.errors import MissingWeights

DRAWN = "--annotations FILE reads boxes and masks from a COCO file"
"""Works without a detector and a segmenter."""


def missing_weights(option: str, name: str, reason: str, source: str, without: str) -> MissingWeights:
    """The report on one model.

    Args:
        option: that names the model.
        name: what it was given.
        reason: why that cannot be loaded; the first line is shown.
        source: what to do to have the model.
        without: what works without it.
    """
    shown = (reason.strip().splitlines() or ["no reason is known"])[0]
    return MissingWeights(f"{option}: cannot load '{name}': {shown}\n  to get it: {source}\n  without it: {without}")
