"""Every metric is described once, and a file in the package is all that a new one takes."""

import sys
from collections import Counter

import numpy as np
import pytest

import evaluation.evaluator
from evaluation.evaluator import evaluate
from evaluation.measure import NUMBER, SHARE, Trial, Unit
from evaluation.measures import MEASURES, described, found_in, unit_of
from report import table
from report.markup import heading, number
from tests.evaluation.stand_ins import Items, OneByOne, chunks, small_net, smooth_images

NEW = """
from evaluation.measure import SHARE, Measure, Trial

def first_class(views, temperature):
    return (views.clean.argmax(1) == 0).double()

MEASURES = [
    Measure(name="first_class", unit=SHARE, trial=Trial.CLEAN, of=first_class, column="is_first", is_headline=True)
]
"""


def test_every_metric_has_a_unit_and_names_of_its_own():
    assert all(isinstance(measure.unit, Unit) for measure in MEASURES)
    for names in (
        [measure.name for measure in MEASURES],
        *([measure.column_for(kind) for measure in MEASURES] for kind in ("digits", "pictures")),
    ):
        assert max(Counter(filter(None, names)).values()) == 1
    assert all((measure.of is None) == (measure.trial in (Trial.STUDY, Trial.RUN)) for measure in MEASURES)
    assert all(described(name) is measure for measure in MEASURES for name in measure.names)


def test_what_is_tempered_has_a_twin_that_is_not():
    tempered = [measure for measure in MEASURES if measure.is_tempered and measure.per is None]
    assert len(tempered) == 5
    for measure in tempered:
        twin = described(measure.name.removesuffix("_tempered"))
        assert (twin.unit, twin.trial, twin.of) == (measure.unit, measure.trial, measure.of) and not twin.is_tempered


@pytest.mark.parametrize(
    "name",
    [
        *("accuracy", "correct", "top1", "top5", "multi_scale_top1", "multi_scale_top5", "top1_at_0.7", "top5_at_1.3"),
        *("warp_invariance_flips", "warp_flip", "local_scale_flips", "local_scale_flip", "consistency_flips"),
        *("warp_accuracy", "warp_correct", "warp_oracle_accuracy", "warp_accuracy_at_0.25", "warp_flips_at_0"),
        *("warp_accuracy_by_nearest", "accuracy_after_1", "warp_accuracy_after_12"),
        *("accuracy_at_0.4", "accuracy_over_scales", "undone", "disturbed_flips", "accuracy_bypassed"),
        *("size_accuracy", "size_correct", "size_accuracy_at_17", "worst_size_accuracy", "octave_drop"),
    ],
)
def test_shares_are_told_in_percent(name):
    assert unit_of(name) == SHARE
    assert heading(name) == f"{name} (%)" and number(name, 0.12345, signed=True) == "+12.35"


@pytest.mark.parametrize(
    "name",
    [
        *("nll", "warp_error_tempered", "local_scale_error", "temperature", "phi_std", "loss"),
        *("warp_error_tempered_at_0.25", "warp_error_tempered_after_3"),
    ],
)
def test_all_else_is_told_as_it_is(name):
    assert heading(name) == name and number(name, 0.12345) == "0.1235"
    assert heading("displacement") == "displacement (px)" and number("displacement", 1.2345) == "1.234"
    assert number("seconds", 61.7) == "62" and unit_of("loss") == NUMBER and described("loss") is None


def test_tables_tell_of_the_most_important_in_the_order_of_the_trials():
    assert [measure.name for measure in MEASURES if measure.is_headline] == [
        *("accuracy", "top1", "test_error", "mean_iou", "multi_scale_top1"),
        *("consistency_error", "consistency_error_tempered", "consistency_flips"),
        *("worst_factor_accuracy", "size_accuracy"),
        *("warp_accuracy", "warp_equivariance_error", "pixel_flips"),
        *("warp_invariance_error", "warp_invariance_error_tempered", "warp_invariance_flips", "warp_mean_iou"),
        *("local_scale_error", "local_scale_error_tempered", "local_scale_flips"),
        *("undone", "residual", "seconds"),
    ]


def test_one_file_is_all_that_a_metric_takes(tmp_path, monkeypatch):
    """It is found, measured, kept for every item, and shown."""
    folder = tmp_path / "other_measures"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "first_class.py").write_text(NEW)
    monkeypatch.syspath_prepend(tmp_path)
    found = found_in("other_measures", [str(folder)])
    for name in [name for name in sys.modules if name.startswith("other_measures")]:
        monkeypatch.delitem(sys.modules, name)
    assert [measure.name for measure in found] == ["first_class"]
    images = smooth_images(9)
    part = Items(images, (images.mean((1, 2, 3)) > 0).long(), chunks(range(9), 4))
    net = OneByOne(small_net())
    assert "first_class" not in evaluate(net, {"test": part}).metrics
    for module in (evaluation.evaluator, evaluation.measures, table):
        monkeypatch.setattr(module, "MEASURES", (*MEASURES, *found))
    measured = evaluate(net, {"test": part})
    expected = (net.eval()(images).argmax(1) == 0).double().numpy()
    assert np.array_equal(measured.items["is_first"], expected)
    assert measured.metrics["first_class"] == expected.mean()
    assert heading("first_class") == "first_class (%)" and heading("is_first") == "is_first (%)"
