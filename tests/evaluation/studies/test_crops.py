"""The error of one object at two sizes, against published numbers and its definition."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.studies.crops import PAIRS, STUDY, crop_error
from layers.grid import WarpParams
from tests.evaluation.studies.stand_ins import Warps, network, parts, subject, wrapped

GOLDEN = Path(__file__).parents[2] / "golden" / "zoo" / "stir_equivariance_standard.npz"


def published(golden) -> torch.nn.Module:
    """The plain network with weights by the rule that golden/zoo/README.md states."""
    settings = json.loads(str(golden["settings"]))
    model = network("standard").double()
    model.backbone.reset_classifier(10)
    state = model.backbone.state_dict()
    for number, ((_, shape, kind), name) in enumerate(zip(settings["params"], state, strict=True)):
        drawn = np.random.RandomState(1000 * settings["seed"] + number).uniform(-1, 1, shape)
        state[name] = torch.from_numpy(drawn * np.sqrt(3 / np.prod(shape[1:])) if kind == "W" else 0.1 * drawn)
    model.backbone.load_state_dict(state)
    return model.double()


def test_the_published_numbers_are_met_when_fed_as_published() -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        model = published(golden)
        images = torch.from_numpy(golden["images"])[:, None].double()  # 0 to 255, as published and as nobody trained
        maps = model.backbone.feature_maps(images)
        sides, corners = golden["sides"].tolist(), golden["positions"].tolist()
        for stage in (1, 2):
            value = maps[f"layer{stage}"].value.detach()
            for number, pair in enumerate(PAIRS):
                at = [sides.index(side) for side in pair]
                found = crop_error(*((value[n], corners[n], sides[n]) for n in at))
                assert found == pytest.approx(golden[f"errors_stage{stage}"][number], rel=1e-8)


def test_the_study_cuts_the_objects_where_they_lie() -> None:
    model = network("standard")
    metrics, arrays = STUDY(model, subject(2))
    objects = subject(2).objects([64, 49])
    maps = model.backbone.feature_maps(objects.images[1])["layer2"].value.detach()
    cuts = [(maps[s], objects.corners[1, s].tolist(), side) for s, side in ((1, 64), (0, 49))]
    assert arrays["error"].shape == (2, 6, 2) and arrays["layers"].tolist() == ["layer1", "layer2"]
    assert arrays["error"][1, 0, 1] == pytest.approx(crop_error(*cuts), rel=1e-5)
    assert metrics["crop_error_at_layer2"] == pytest.approx(arrays["error"][1][arrays["counted"]].mean())


@pytest.mark.parametrize(
    ("trained", "counted"),
    [
        (range(17, 33), [1, 1, 1, 1, 0, 0]),
        (range(33, 49), [1, 1, 0, 0, 1, 1]),
        (range(49, 65), [0, 0, 1, 1, 1, 1]),
        (range(17, 65), [1] * 6),
    ],
)
def test_pairs_that_were_not_trained_at_are_counted(trained, counted) -> None:
    part = parts()["sizes"]
    other = replace(part, groups=replace(part.groups, trained=tuple(trained)))
    _, arrays = STUDY(network("standard"), replace(subject(1), parts={"sizes": other}))
    assert arrays["counted"].tolist() == [bool(one) for one in counted]


def test_of_a_map_with_scales_the_largest_answer_counts() -> None:
    model = network("xu")
    _, arrays = STUDY(model, subject(1))
    objects = subject(1).objects([32, 17])
    value = model.backbone.feature_maps(objects.images[0])["layer1"].value.detach().amax(2)
    cuts = [(value[s], objects.corners[0, s].tolist(), side) for s, side in ((1, 32), (0, 17))]
    assert arrays["error"][0, 4, 0] == pytest.approx(crop_error(*cuts), rel=1e-5)


def test_where_kernels_are_larger_than_the_object_there_is_nothing_to_compare() -> None:
    """A map of 36 x 36 lacks 28 places: an object of 32 pixels has 4 x 4 of them, and one of 17 none."""
    value = torch.rand(4, 36, 36)
    for corner in ([0, 0], [5, 5], [47, 47]):  # where a slice from the end would hold something, too
        assert np.isnan(crop_error((value, [0, 0], 32), (value, corner, 17)))
    metrics, arrays = STUDY(network("hermite"), subject(2))
    assert arrays["layers"].tolist() == ["layer1", "layer2"]
    is_nan = np.isnan(arrays["error"]).all(-1)
    assert not is_nan[0].any()  # of 50 x 50, which lacks 14
    assert is_nan[1].tolist() == [17 in pair for pair in PAIRS] and np.isnan(arrays["error"][1, 4:]).all()
    counted = arrays["error"][1][arrays["counted"]]
    assert metrics["crop_error_at_layer2"] == pytest.approx(np.nanmean(counted))


def test_of_a_map_that_is_0_there_is_no_error() -> None:
    assert np.isnan(crop_error((torch.zeros(2, 64, 64), [0, 0], 32), (torch.ones(2, 64, 64), [0, 0], 17)))


def test_places_of_a_warped_image_are_refused() -> None:
    model = Warps(lambda image: WarpParams.identity(len(image), 4))
    with pytest.raises(ValueError, match=r"has crops, which needs maps whose places are those of the image"):
        STUDY.check(model, subject(1))


def test_a_network_whose_maps_are_coarse_is_refused() -> None:
    message = "has crops, which needs a map with a place for every pixel; the strides of this model are 2 at act1, 4"
    with pytest.raises(ValueError, match=message):
        STUDY.check(wrapped("test_resnet", num_classes=3, in_chans=1), subject(1))
