"""What a model is put to, each process with its own batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evaluation.cost import multiply_adds
from evaluation.measure import Measure
from evaluation.parts import Part, first_batches, places
from evaluation.pixels import PixelViews
from evaluation.predictions import Equilibrium, undisturbed
from evaluation.sharing import Columns, Gather, gathered
from evaluation.temperature import fit_temperature
from evaluation.views import BASE, Judge, Views

EQUILIBRIUM_ITEMS = 256  # that describe a canonicalizer: a number of items, for no metric may depend on a batch's size


@dataclass(frozen=True)
class Bench:
    """A model, and the share of this process: (rank, world), and what joins the columns of all."""

    judge: Judge
    share: tuple[int, int]
    gather: Gather

    def columns(
        self, part: Part, batches: list[list[int]], measures: Sequence[Measure], temperature: float | None
    ) -> Columns:
        """Per item that could be read, the columns of ``BASE`` and the values of the metrics, by their names."""
        with undisturbed(self.judge.predict):
            found = [views.columns(measures, temperature) for views in self._views(part, batches)]
        return gathered(found, [*BASE, *(measure.name for measure in measures)], self.gather)

    def temperature(self, part: Part) -> float:
        """Fitted on all items of a part."""
        found = []
        with undisturbed(self.judge.predict):
            for views in self._views(part, part.batches):
                found.append(views.columns([], None) | {"logits": views.clean, "label": views.labels})
        known = gathered(found, ("position", "logits", "label"), self.gather)
        if not len(known["label"]):
            raise ValueError("there are no items to fit the temperature on")
        return fit_temperature(known["logits"], known["label"])

    def equilibrium(self, part: Part) -> Equilibrium:
        """Of the first items, also of those that could not be read."""
        batches = first_batches(part.batches, EQUILIBRIUM_ITEMS)
        place, found = places(batches), []
        model: Any = self.judge.predict
        with undisturbed(model):
            for image, _, numbers in part.loader(batches[self.share[0] :: self.share[1]]):
                output = model(image.to(self.judge.device), return_output=True)
                phi = torch.cat([side.flatten(1).float().cpu() for phi in output.phis for side in phi], dim=1)
                position = torch.tensor([place[number] for number in numbers.tolist()])
                found.append({"position": position, "residual": output.residual.float().cpu(), "phi": phi})
        known = gathered(found, ("position", "residual", "phi"), self.gather)
        return Equilibrium(known["residual"].float(), known["phi"].float())

    def multiply_adds(self, part: Part) -> float:
        """Of the model's answer to the first image."""
        image, _, _ = next(iter(part.loader(part.batches[:1])))
        with undisturbed(self.judge.predict):
            return multiply_adds(lambda: self.judge.predict(image[:1].to(self.judge.device)))

    def _views(self, part: Part, batches: list[list[int]]) -> Iterator[Views]:
        """Of this process's batches; items are ordered by their numbers, or without groups as they come."""
        views = PixelViews if part.kind == "dense" else Views
        here, place = places(batches), places(part.batches) if part.groups is None else {}
        for image, label, numbers in part.loader(batches[self.share[0] :: self.share[1]]):
            items = numbers.tolist()
            positions = [place.get(number, number) for number in items]
            places_here = [here[number] for number in items]
            yield views(self.judge, image, label, numbers, positions, part.groups, places_here)
