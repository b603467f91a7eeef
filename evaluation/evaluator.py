"""All metrics of one model at once, on one process or divided among several, with their values per item."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch

from evaluation.measure import Measure, Trial, averages
from evaluation.measures import MEASURES
from evaluation.parts import Part, first_batches, unscaled_batches
from evaluation.predictions import Predict
from evaluation.scales import at_scales, local_scale_pairs
from evaluation.sharing import Columns, Gather, alone
from evaluation.trials import Bench
from evaluation.views import Judge
from layers.spec import SampleMode


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        metrics: means over the items.
        items: the values behind them, one per item, for ``paired_bootstrap``; ``index`` numbers the items, and
            ``warp_index``, ``local_scale_index``, ``composed_index``, ``canonical_index``, ``group_index``,
            ``at_S_index``, ``labelled_index``, ``warp_labelled_index`` and ``equivariance_index`` those that some
            metrics are of.
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
    strengths: Sequence[float] = (),
    interpolations: Sequence[SampleMode] = (),
    evaluations: Sequence[int] = (),
    scales: Sequence[float] = (),
    tells_warps: bool = False,
    gives: Collection[str] = (),
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
        floor_items: the first so many are restored, for the floor of the warp error, and what a model's own warps do
            is measured on them; None takes all that are warped.
        local_scale_items: the first so many are composed at random scales.
        local_scale_draws: random scales for each of them.
        batch_size: composed images per call; the parts have batches of their own.
        strengths: other ones at which the images are warped too.
        interpolations: other ways in which the warped images are read too.
        evaluations: of a DEC's maps, in the place of its solver.
        scales: that all parts of the composed items have too, one after the other.
        tells_warps: the same as "equilibrium" among ``gives``.
        gives: what ``predict`` gives besides logits. "equilibrium": it knows ``return_output=True``, and tells its
            warps and residuals then, and ``evaluations=k``. "warps": it is an adapted model, which knows
            ``return_output=True``, ``warps_only=True``, ``predict(image, phis)`` and ``frames(size)``. "forms":
            each of its warps is found from the image and acts on what no other has warped, so that it could undo a
            warp of the image by itself, and the random warps move something.
        device: where the images are moved to.
        share: (rank, world): this process takes every world-th batch, from rank on.
        gather: joins the columns of all processes; it is called equally often on each. Batches are the same for any
            number of processes, and means are taken after it in the order of the items: so are the metrics.
        full: False leaves out all but the metrics that are ``quick`` for the data.
    """
    if not 0 <= share[0] < share[1]:
        raise ValueError(f"share is {share}; expected (rank, world) with rank from 0 to world - 1")
    part = next(iter(evaluated.values()))
    gives = {*gives, "equilibrium"} if tells_warps else {*gives}
    settings: dict[str, Sequence[Any]] = {
        "strengths": strengths,
        "interpolations": interpolations,
        "evaluations": evaluations,
        "scales": scales,
    }
    if evaluations and "equilibrium" not in gives:
        raise ValueError(f"evaluations is {list(evaluations)}; expected none of a model that gives no equilibrium")
    possible = [measure for measure in MEASURES if measure.needs is None or measure.needs in gives]
    wanted = [
        single
        for measure in possible
        if measure.applies_to(part.kind, full=full)
        for single in measure.at_each(settings)
    ]
    if calibration is None:
        wanted = [measure for measure in wanted if not measure.is_tempered]
    bench = Bench(Judge(predict, device, grid_size, strength, seed, floor_items), share, gather)
    found, temperature = Evaluation(), None

    def of(*trials: Trial) -> list[Measure]:
        return [measure for measure in wanted if measure.trial in trials]

    if calibration is not None and any(measure.is_tempered for measure in wanted):
        temperature = found.metrics["temperature"] = bench.temperature(calibration)
    for judged, batches, trials in _passes(evaluated, warp_items, floor_items):
        if measures := of(*trials):
            columns = bench.columns(judged, batches, measures, temperature)
            if Trial.CLEAN in trials and not len(columns["index"]):
                raise ValueError("there are no items to evaluate")
            found.add(measures, columns, part.kind)
    if part.composed is not None:
        items = list(chain.from_iterable(first_batches(part.batches, local_scale_items)))
        options: dict[str, Any] = {"batch_size": batch_size, "device": device, "share": share, "gather": gather}
        if measures := of(Trial.LOCAL_SCALE):
            pairs = local_scale_pairs(predict, part.composed, items, draws=local_scale_draws, seed=seed, **options)
            found.add(measures, _columns(measures, pairs, temperature, items), part.kind)
        if scales and (measures := of(Trial.COMPOSED)):
            answers = at_scales(predict, part.composed, items, scales, **options)
            found.add(measures, _columns(measures, answers, temperature, items), part.kind)
    if measures := of(Trial.EQUILIBRIUM):
        solved = bench.equilibrium(part)
        found.metrics.update({measure.name: measure.values(solved, temperature).item() for measure in measures})
    if measures := of(Trial.COST):
        count = bench.multiply_adds(part)
        found.metrics.update({measure.name: measure.values(count, temperature).item() for measure in measures})
    return found


def _columns(measures: Sequence[Measure], found: Any, temperature: float | None, items: Sequence[int]) -> Columns:
    """Of composed items."""
    return {measure.name: measure.values(found, temperature) for measure in measures} | {"index": torch.tensor(items)}


def _passes(
    evaluated: Mapping[str, Part], warp_items: int | None, floor_items: int | None
) -> Iterator[tuple[Part, list[list[int]], tuple[Trial, ...]]]:
    """Which batches are gone through for which trials; where all items are warped, one pass does for both."""
    first, *others = evaluated.values()
    warped = unscaled_batches(first, warp_items)
    if warped == first.batches:
        yield first, warped, (Trial.CLEAN, Trial.SCALES, Trial.WARPS)
    else:
        yield first, first.batches, (Trial.CLEAN, Trial.SCALES)
        yield first, warped, (Trial.WARPS,)
    yield first, warped if floor_items is None else first_batches(warped, floor_items), (Trial.CANONICAL,)
    yield from ((part, part.batches, (Trial.SCALES,)) for part in others)
