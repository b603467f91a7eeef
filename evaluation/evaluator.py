"""All metrics of one model at once, on one process or divided among several, with their values per item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch

from evaluation.measure import Measure, Trial, averages
from evaluation.measures import MEASURES
from evaluation.parts import Part, first_batches, unscaled_batches
from evaluation.predictions import Predict
from evaluation.scales import local_scale_pairs
from evaluation.sharing import Columns, Gather, alone
from evaluation.trials import Bench
from evaluation.views import Judge


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        metrics: means over the items.
        items: the values behind them, one per item, for ``paired_bootstrap``; ``index`` numbers the items, and
            ``warp_index``, ``local_scale_index``, ``group_index`` and ``at_S_index`` those that some metrics are of.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    items: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, measures: Sequence[Measure], columns: Columns, kind: str) -> None:
        """The means, and the values that are kept for this kind of data."""
        for measure, part in averages(measures, columns):
            self.metrics[measure.name + part.suffix] = part.values.mean().item()
            if column := measure.column_for(kind):
                self.items[part.numbered_by or measure.trial.index] = part.numbers.long().numpy()
                self.items[column + part.suffix] = part.values.numpy()


def evaluate(
    predict: Predict,
    evaluated: Mapping[str, Part],
    calibration: Part | None = None,
    *,
    grid_size: int = 8,
    strength: float = 0.25,
    seed: int = 0,
    warp_items: int | None = None,
    floor_items: int | None = 256,
    local_scale_items: int = 64,
    local_scale_draws: int = 8,
    batch_size: int = 64,
    tells_warps: bool = False,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    gather: Gather = alone,
    full: bool = True,
) -> Evaluation:
    """Every metric of ``evaluation/measures`` that applies to the data.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``undisturbed``.
        evaluated: by name; the first part answers all questions, the others those on objects at several scales.
        calibration: items that the model neither trained on nor is judged by, which the temperature is fitted on;
            None leaves out what needs it.
        grid_size: R, the number of knots per axis of the random warps.
        strength: of the random warps.
        seed: of the warps, and of the scales, which are drawn by an item's number. Warps are drawn by it too where
            there are groups, and by an item's place in the part elsewhere.
        warp_items: the first so many are warped; None takes all. Of an object at several scales, it is the picture at
            scale 1.
        floor_items: the first so many are restored, for the floor of the warp error; None takes all that are warped.
        local_scale_items: the first so many are composed at random scales.
        local_scale_draws: random scales for each of them.
        batch_size: composed images per call; the parts have batches of their own.
        tells_warps: whether ``predict`` knows ``return_output=True``, and tells its warps then.
        device: where the images are moved to.
        share: (rank, world): this process takes every world-th batch, from rank on.
        gather: joins the columns of all processes; it is called equally often on each. Batches are the same for any
            number of processes, and means are taken after it in the order of the items: so are the metrics.
        full: False leaves out all but the metrics that are ``quick`` for the data.
    """
    if not 0 <= share[0] < share[1]:
        raise ValueError(f"share is {share}; expected (rank, world) with rank from 0 to world - 1")
    part = next(iter(evaluated.values()))
    wanted = [measure for measure in MEASURES if measure.applies_to(part.kind, full=full)]
    if calibration is None:
        wanted = [measure for measure in wanted if not measure.is_tempered]
    bench = Bench(Judge(predict, device, grid_size, strength, seed, floor_items), share, gather)
    found, temperature = Evaluation(), None

    def of(*trials: Trial) -> list[Measure]:
        return [measure for measure in wanted if measure.trial in trials]

    if calibration is not None and any(measure.is_tempered for measure in wanted):
        temperature = found.metrics["temperature"] = bench.temperature(calibration)
    for judged, batches, trials in _passes(evaluated, warp_items):
        if measures := of(*trials):
            columns = bench.columns(judged, batches, measures, temperature)
            if Trial.CLEAN in trials and not len(columns["index"]):
                raise ValueError("there are no items to evaluate")
            found.add(measures, columns, part.kind)
    if part.composed is not None and (measures := of(Trial.LOCAL_SCALE)):
        items = list(chain.from_iterable(first_batches(part.batches, local_scale_items)))
        scaled = local_scale_pairs(
            predict,
            part.composed,
            items,
            draws=local_scale_draws,
            seed=seed,
            batch_size=batch_size,
            device=device,
            share=share,
            gather=gather,
        )
        columns = {measure.name: measure.values(scaled, temperature) for measure in measures}
        found.add(measures, columns | {"index": torch.tensor(items)}, part.kind)
    if tells_warps and (measures := of(Trial.EQUILIBRIUM)):
        solved = bench.equilibrium(part)
        found.metrics.update({measure.name: measure.values(solved, temperature).item() for measure in measures})
    return found


def _passes(
    evaluated: Mapping[str, Part], warp_items: int | None
) -> Iterator[tuple[Part, list[list[int]], tuple[Trial, ...]]]:
    """Which batches are gone through for which trials; where all items are warped, one pass does for both."""
    first, *others = evaluated.values()
    warped = unscaled_batches(first, warp_items)
    if warped == first.batches:
        yield first, warped, (Trial.CLEAN, Trial.SCALES, Trial.WARPS)
    else:
        yield first, first.batches, (Trial.CLEAN, Trial.SCALES)
        yield first, warped, (Trial.WARPS,)
    yield from ((part, part.batches, (Trial.SCALES,)) for part in others)
