"""How a recipe's model is measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from config.schema import Config
from evaluation.evaluator import Evaluation, evaluate
from train.distributed import Process

Measure = Callable[[nn.Module, bool], Evaluation]  # a model, in full or quickly; every process calls it


def build_measure(config: Config, data: Any, process: Process) -> Measure:
    """What measures a model by the recipe's settings, on the splits of its data."""
    chosen = config.evaluation
    measured = partial(
        evaluate,
        evaluated=data.evaluated,
        calibration=data.calibration,
        grid_size=config.warp.grid_size,
        strength=config.warp.strength,
        warp_items=chosen.warp_items,
        floor_items=chosen.floor_items,
        local_scale_items=chosen.local_scale_items,
        local_scale_draws=chosen.local_scale_draws,
        batch_size=chosen.batch_size,
        strengths=chosen.strengths,
        interpolations=chosen.interpolations,
        evaluations=chosen.evaluations,
        scales=chosen.scales,
        gives=config.method.gives | ({"forms"} if _finds_forms(config) else set()),
        device=process.device,
        share=process.share,
        gather=process.gather,
    )

    def measure(model: nn.Module, full: bool) -> Evaluation:
        try:
            found = measured(model, full=full)
        finally:
            data.check()  # says more than that nothing was there to be measured
        if broken := data.count_broken(process.sum):
            found.metrics["broken"] = broken
        return found

    return measure


Watch = Callable[[nn.Module], float]  # a model's accuracy on the items that are watched; every process calls it


def build_watch(data: Any, process: Process) -> Watch | None:
    """What is looked at after every epoch, where the data have items for it."""
    if data.watched is None:
        return None
    quickly = partial(evaluate, evaluated={"watched": data.watched}, full=False)

    def watch(model: nn.Module) -> float:
        found = quickly(model, device=process.device, share=process.share, gather=process.gather)
        return found.metrics["accuracy"]

    return watch


def _finds_forms(config: Config) -> bool:
    """Whether each warp that the model finds could undo a random warp of the image by itself.

    Warps of sites that are not undone add up, so that none of them has to undo all. And a feature of a warped image is
    not the warped feature, so what is found from it need not be a form of the image.
    """
    method = config.method
    sites, condition = method.sites, getattr(method, "condition", "image")
    acts_alone = len(sites) == 1 or all(site.acts_alone for site in sites)
    return "warps" in method.gives and condition != "feature" and acts_alone and config.warp.strength > 0
