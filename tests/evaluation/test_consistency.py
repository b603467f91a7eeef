"""Metrics of pictures at several scales against loops written from their formulas."""

import math
import random
from functools import cache

import numpy as np
import pytest
import torch

from evaluation.evaluator import evaluate
from evaluation.measures import described
from evaluation.metrics import _loaded, per_scale_accuracy, scale_consistency
from evaluation.sharing import alone
from evaluation.trials import Bench
from evaluation.views import Judge
from tests.evaluation.picture_sets import CLASSES, NAMES, OBJECTS, UNREADABLE, FewPictures, judges
from tests.evaluation.stand_ins import OneByOne, small_net

FEW = FewPictures()
ALONE = ("plain.png", "simple.png")


@cache
def net():
    return OneByOne(small_net(channels=3, gain=25)).eval()


@cache
def said():
    """By the name of every picture that can be read: the logits and the label."""
    with torch.no_grad():
        logits = net()(FEW.images).double().numpy()
    return {name: (logits[number], FEW.labels[number]) for number, name in enumerate(NAMES) if name not in UNREADABLE}


def share(logits, temperature=1.0):
    values = np.exp((logits - logits.max()) / temperature)
    return values / values.sum()


def rank(logits, label):
    return int((logits > logits[label]).sum())


def consistency(temperature=1.0):
    """Both ways of counting, and the flips: means over objects."""
    errors, published, flips = [], [], []
    for stem, scales in OBJECTS.items():
        by_scale = {float(scale): said().get(f"n/{stem}_scale_{scale}.png") for scale in scales.split()}
        logits = {scale: found[0] for scale, found in by_scale.items() if found is not None}
        if 1.0 not in logits or len(logits) == 1:
            continue
        one = logits.pop(1.0)
        p = share(one, temperature)
        changes = [math.dist(p, share(other, temperature)) for other in logits.values()]
        errors.append(np.mean(changes))
        published.append(np.mean([*changes, 0.0]))
        flips.append(np.mean([float(one.argmax() != other.argmax()) for other in logits.values()]))
    assert len(errors) == 5  # whole, other, short, worn and long
    return np.mean(errors), np.mean(published), np.mean(flips)


def accuracies(top, scale=None):
    at = [
        rank(logits, label) < top
        for name, (logits, label) in said().items()
        if scale is None or (name[2:] not in ALONE and float(name.split("_scale_")[1][:-4]) == scale)
    ]
    return np.mean(at)


def columns(*names, temperature=None):
    """Of every picture that can be read, which one it is and the values of these metrics."""
    part, bench = judges(), Bench(Judge(net()), (0, 1), alone)
    return bench.columns(part, part.batches, [described(name) for name in names], temperature)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
def test_consistency_is_the_formula(size):
    for temperature in (1.0, 0.3, 4.0):
        error, published, flips = consistency(temperature)
        found = scale_consistency(net(), FEW, temperature=temperature, batch_size=size)
        assert found == pytest.approx(
            {
                "consistency_error": error,
                "consistency_error_published": published,
                "consistency_flips": flips,
            },
            rel=1e-5,
        )
    assert found["consistency_flips"] > 0


def test_accuracy_is_counted_at_every_scale():
    expected = {f"top{top}_at_{scale:g}": accuracies(top, scale) for top in (1, 5) for scale in (0.7, 1, 1.3, 2)}
    expected |= {f"multi_scale_top{top}": accuracies(top) for top in (1, 5)}
    for size in (1, 4, 100):
        assert per_scale_accuracy(net(), FEW, batch_size=size) == pytest.approx(expected)
    assert 0 < expected["multi_scale_top1"] < expected["multi_scale_top5"] < 1
    assert len({expected[f"top5_at_{scale}"] for scale in (0.7, 1, 1.3)}) > 1


def test_columns_hold_the_values_of_every_picture_that_can_be_read():
    names = ("top1", "top5", "nll", "consistency_error", "consistency_error_tempered", "consistency_flips")
    found = columns(*names, temperature=2.0)
    numbers = found["index"].tolist()
    assert numbers == [number for number, name in enumerate(NAMES) if name not in UNREADABLE]
    for place, number in enumerate(map(int, numbers)):
        logits, label = said()[NAMES[number]]
        assert found["top1"][place] == (rank(logits, label) < 1)
        assert found["top5"][place] == (rank(logits, label) < 5)
        assert found["nll"][place].item() == pytest.approx(-math.log(share(logits)[label]), rel=1e-5)
        assert number in FEW.groups.members[int(found["group"][place])]
    scales = dict(zip(numbers, found["scale"].tolist(), strict=True))
    without = {name for name in NAMES if name[2:] in ALONE or name[2:6] in ("late", "torn")}
    for place, number in enumerate(map(int, numbers)):
        has_change = NAMES[number] not in without and scales[number] != 1
        assert found["is_compared"][place] == has_change
        if has_change:
            logits = [said()[NAMES[one]][0] for one in (number, FEW.groups.members[int(found["group"][place])][0])]
            for name, temperature in (("consistency_error", 1.0), ("consistency_error_tempered", 2.0)):
                distance = math.dist(*(share(one, temperature) for one in logits))
                assert found[name][place].item() == pytest.approx(distance, rel=1e-5, abs=1e-9)
            assert found["consistency_flips"][place] == (logits[0].argmax() != logits[1].argmax())
    means = evaluate(net(), {"val": judges()}).metrics
    expected = {"top1": accuracies(1), "top5": accuracies(5)}
    assert {name: means[name] for name in expected} == pytest.approx(expected)
    assert means["nll"] == pytest.approx(np.mean([-math.log(share(logits)[y]) for logits, y in said().values()]))


def test_objects_count_alike_however_many_scales_they_have():
    found = {name: torch.tensor(values) for name, values in evaluate(net(), {"val": judges()}).items.items()}
    stems = [NAMES[FEW.groups.members[group][0]].split("_scale_")[0] for group in found["group_index"]]
    assert sorted(stems) == ["n/long", "n/other", "n/short", "n/whole", "n/worn"]
    counts = torch.tensor([{"n/long": 3, "n/short": 1, "n/worn": 1}.get(stem, 2) for stem in stems])
    expected = found["consistency_error"] * counts / (counts + 1)
    torch.testing.assert_close(found["consistency_error_published"], expected)


def test_an_invariant_model_is_consistent():
    def invariant(image):
        return torch.tensor([0.3, 2.0, -1.0, 0.0, 0.1, 0.2, 0.5]).expand(len(image), -1)

    assert scale_consistency(invariant, FEW) == {
        "consistency_error": 0,
        "consistency_error_published": 0,
        "consistency_flips": 0,
    }
    found = per_scale_accuracy(invariant, FEW)  # it says class 1
    assert found["multi_scale_top1"] == np.mean([label == 1 for _, label in said().values()])


def test_the_largest_inconsistency_is_the_root_of_two():
    sign = torch.tensor([1.0 if name.endswith("_scale_1.png") or "_1.0" in name else -1.0 for name in NAMES])
    by_picture = {tuple(image.flatten()[:9].tolist()): value for image, value in zip(FEW.images, sign, strict=True)}

    def torn(image):
        value = torch.tensor([by_picture.get(tuple(one.flatten()[:9].tolist()), 1.0) for one in image])
        return torch.stack([1000 * value, -1000 * value], 1)

    class Binary(FewPictures):
        def __getitem__(self, number):
            image, label = super().__getitem__(number)
            return image, min(label, 1)

    found = scale_consistency(torn, Binary())
    assert found["consistency_error"] == pytest.approx(math.sqrt(2)) and found["consistency_flips"] == 1
    assert per_scale_accuracy(torn, Binary())["multi_scale_top5"] == 1  # two classes have no sixth


def test_a_softer_model_is_closer_to_itself_and_no_better():
    found = scale_consistency(net(), FEW)
    softer = scale_consistency(lambda image: net()(image) / 3, FEW)
    assert softer["consistency_error"] < found["consistency_error"]
    assert softer["consistency_flips"] == found["consistency_flips"]
    tempered = scale_consistency(lambda image: net()(image) / 4, FEW, temperature=0.25)
    assert tempered == pytest.approx(found, rel=1e-6)


def test_a_model_that_says_nan_is_not_taken_for_a_consistent_one():
    def spoilt(image):
        logits = net()(image)
        return torch.where(image.mean((1, 2, 3))[:, None] > 0, logits, torch.nan)

    found = scale_consistency(spoilt, FEW)
    assert math.isnan(found["consistency_error"])
    assert len(evaluate(spoilt, {"val": judges()}, full=False).items["group_index"]) == 5


def test_module_and_generators_are_as_they_were():
    model = OneByOne(small_net(channels=3)).train()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    found = scale_consistency(model, FEW), per_scale_accuracy(model, FEW)
    assert model.training and all(part.training for part in model.modules())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert found == (scale_consistency(model.eval(), FEW), per_scale_accuracy(model, FEW))


def test_sets_without_scales_have_accuracy_and_no_consistency():
    plain = FewPictures(["n/plain.png", "n/long_scale_2.png"])
    assert per_scale_accuracy(net(), plain).keys() == {
        "top1_at_2",
        "top5_at_2",
        "multi_scale_top1",
        "multi_scale_top5",
    }
    with pytest.raises(ValueError, match="no group has a picture at scale 1 and one at another"):
        scale_consistency(net(), plain)


@pytest.mark.parametrize("names", [[], ["n/simple.png", "n/torn_scale_1.png"]])
def test_of_no_pictures_nothing_can_be_said(names):
    with pytest.raises(ValueError, match="there are no items to evaluate"):
        per_scale_accuracy(net(), FewPictures(names))
    with pytest.raises(ValueError, match="no group has a picture at scale 1"):
        scale_consistency(net(), FewPictures(names))


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan")])
def test_settings_that_cannot_be_meant(temperature):
    with pytest.raises(ValueError, match=r"temperature is .*; expected a positive number"):
        scale_consistency(net(), FEW, temperature=temperature)
    for measure in (scale_consistency, per_scale_accuracy):
        with pytest.raises(ValueError, match="batch_size is 0; expected at least 1"):
            measure(net(), FEW, batch_size=0)


def test_an_error_of_the_data_set_arrives():
    class Failing(FewPictures):
        def __getitem__(self, number):
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        per_scale_accuracy(net(), Failing())


def test_batches_are_made_ahead_in_their_order():
    found = list(_loaded(FEW, 4))
    assert [number.tolist() for _, _, number in found] == FEW.groups.batches(4)
    for image, label, number in found:
        known = label >= 0
        assert torch.equal(image[known], FEW.images[number][known])
        assert label.tolist() == [FEW[place][1] for place in number.tolist()]
    assert max(FEW.labels) == CLASSES - 1
