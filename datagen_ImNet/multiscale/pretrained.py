"""Models of the Hugging Face Hub, each with its processor, and what such a processor cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from multiscale.errors import DRAWN, MissingWeights, missing_weights


class Pretrained:
    """A kind of model: how it is loaded, and how it is reported where it cannot be.

    Args:
        model_class: of transformers.
        processor_class: of transformers.
        option: that names a model.
        published: name on the Hub of the one that the published pipeline has.
    """

    def __init__(self, model_class: Any, processor_class: Any, option: str, published: str):
        self.model_class, self.processor_class = model_class, processor_class
        self.option, self.published = option, published

    def load(self, name: str, device: str) -> tuple[Any, Any]:
        """A model that is ready for use and its processor, from a folder, the cache, or the Hub."""
        config_class = self.model_class.config_class
        try:
            # first of all: here every version raises an OSError where a name is none, or nothing is to be fetched
            kind = config_class.get_config_dict(name)[0].get("model_type")
            if kind != config_class.model_type:  # the library would only warn, and fill in random weights
                raise self.missing(name, f"it holds a model of type {kind}, not {config_class.model_type}")
            model = self.model_class.from_pretrained(name, use_safetensors=True)  # nothing is unpickled
            return model.eval().to(device), self.processor_class.from_pretrained(name)
        except (OSError, SafetensorError) as error:
            reason = str(error) if Path(name).is_dir() else f"there is no such folder, and for the Hub: {error}"
            raise self.missing(name, reason) from error

    def missing(self, name: str, reason: str) -> MissingWeights:
        """Says why a model cannot be used, and what can be done about that."""
        source = f"`hf download {self.published} --local-dir FOLDER`, then {self.option} FOLDER"
        return missing_weights(self.option, name, reason, source, DRAWN)


def vanishes(image: np.ndarray, long_side: int) -> bool:
    """Whether nothing is left of an image's short side once its long one is resized, which stops the processors."""
    sides = image.shape[:2]
    return long_side * min(sides) / max(sides) <= 0.5
