"""The index of a model against the side of the object."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import linregress

from evaluation.studies.index import STUDY, magnification, trends
from layers.frame import Frame
from layers.grid import SHARPNESS, WarpParams, random_warp_params, warp_grid
from models.preprocess import Preprocess
from models.scale_zoo.network import FeatureMap, ScaleIndex
from models.wrapped import WrappedBackbone
from tests.evaluation.studies.stand_ins import Warps, network, parts, subject


def test_trends_are_those_of_a_regression() -> None:
    sides = torch.arange(17, 65)
    scale = torch.rand(3, 2, 48, generator=torch.Generator().manual_seed(0)) + 0.5
    found = trends(scale, sides)
    for i in range(3):
        for c in range(2):
            assert found.correlation[i, c].item() == pytest.approx(linregress(sides, scale[i, c]).rvalue)
            slope = linregress(sides.log(), scale[i, c].log()).slope
            assert found.slope[i, c].item() == pytest.approx(slope, abs=1e-6)


def test_an_index_that_grows_with_the_object_has_the_slope_one_and_one_that_rests_has_none() -> None:
    sides = torch.arange(17, 65)
    grows, rests = trends(0.3 * sides.double(), sides), trends(torch.full((48,), 0.7), sides)
    assert grows.slope.item() == pytest.approx(1) and grows.correlation.item() == pytest.approx(1)
    assert rests.slope == 0 and rests.correlation == 0


def test_of_every_channel_it_is_the_scale_that_the_pool_takes() -> None:
    """Item by item, without the study's way of finding objects."""
    model = network("dss_max")
    metrics, arrays = STUDY(model, subject(1))
    part = parts()["sizes"]
    owners = list(dict.fromkeys(int(part.groups.of_item[item]) for batch in part.batches for item in batch))[:1]
    for n, s in ((0, 0), (0, 13), (0, 47)):
        is_meant = (part.groups.of_item == owners[n]) & (part.groups.scales == 17 + s)
        (item,) = np.flatnonzero(is_meant)
        index = model.backbone.scale_indices(part.dataset[item][0][None])["layer2"]
        expected = np.where(index.level[0] < 0, np.nan, np.array(index.scales)[index.level[0]])
        assert np.allclose(arrays["layer2_scale"][n, s], expected, equal_nan=True)
    assert metrics["index_slope_at_layer2"] == pytest.approx(np.nanmean(arrays["layer2_slope"]))
    assert arrays["layer2_scale"].shape == (1, 48, 32) and arrays["sides"].tolist() == [*range(17, 65)]


def test_where_each_place_takes_its_own_the_object_counts_and_not_what_is_around_it(monkeypatch) -> None:
    model = network("standard")

    def indices(image):
        """Level 2 in the object, level 0 elsewhere, of a map whose first place is the middle of pixels 0 to 12."""
        level = torch.zeros(len(image), 1, 64, 64, dtype=torch.int64)
        for n, one in enumerate(image[:, 0]):
            rows, columns = one.amax(1).nonzero(), one.amax(0).nonzero()
            level[n, 0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 2
        return {"layer2": ScaleIndex(level[..., 6:-6, 6:-6], (1.0, 2.0, 4.0))}

    monkeypatch.setattr(model.backbone, "scale_indices", indices)
    _, arrays = STUDY(model, subject(6))
    whole = arrays["layer2_scale"][arrays["labels"] == 0]  # squares fill their boxes, bars do not
    assert len(whole) == 2 and np.allclose(whole, 4)
    objects = subject(6).objects()
    for number, side in enumerate(arrays["mapped"]):
        expected = np.where(indices(objects.images[0, side - 17][None])["layer2"].level == 2, 4, 1)
        assert np.array_equal(arrays["layer2_places"][number], expected[0])
    assert arrays["mapped"].tolist() == [17, 33, 48, 64]


@pytest.mark.parametrize("side", [32, 128])
def test_where_the_network_sees_images_at_another_size_the_object_is_found_all_the_same(side: int, monkeypatch) -> None:
    backbone = network("standard").backbone
    model = WrappedBackbone(backbone, Preprocess(side, (0.0,), (1.0,))).eval()

    def indices(image):
        """Of a map as large as the resized image: level 1 in what it shows of the object, level 0 elsewhere."""
        assert image.shape[-1] == side
        return {"layer2": ScaleIndex((image > 0.49).long(), (1.0, 4.0))}

    monkeypatch.setattr(backbone, "scale_indices", indices)
    monkeypatch.setattr(backbone, "feature_maps", lambda image: {"layer2": FeatureMap(image, False, 1.0, 0.0, (0,))})
    _, arrays = STUDY(model, subject(6))
    whole = arrays["layer2_scale"][arrays["labels"] == 0]  # squares fill their boxes
    assert len(whole) == 2 and (whole[:, 20:] > 3).all()  # of large ones; places on the box's edge show half of it


def test_an_object_without_a_place_on_the_map_has_no_index(monkeypatch) -> None:
    model = network("standard")

    def indices(image):
        return {"layer2": ScaleIndex(torch.zeros(len(image), 1, 1, 1, dtype=torch.int64), (2.0,))}

    def maps(image):
        return {"layer2": FeatureMap(image[..., :1, :1], False, 1.0, 0.0, (0,))}

    monkeypatch.setattr(model.backbone, "scale_indices", indices)
    monkeypatch.setattr(model.backbone, "feature_maps", maps)
    _, arrays = STUDY(model, subject(2))
    is_cornered = ~np.isnan(arrays["layer2_scale"])
    assert np.array_equal(is_cornered[..., 0], (subject(2).objects().corners == 0).all(-1).numpy())
    assert np.isnan(arrays["layer2_correlation"][~is_cornered.all((1, 2))]).all()


def test_a_silent_channel_takes_no_scale() -> None:
    model = network("dss_max")
    conv = model.backbone.layer2.conv
    conv.bias.data[:] = 0
    conv.bias.data[4] = -1e4
    metrics, arrays = STUDY(model, subject(1))
    silent = np.isnan(arrays["layer2_scale"])
    assert silent[..., 4].all() and not silent.all()
    assert np.isfinite([metrics["index_slope_at_layer2"], metrics["index_correlation_at_layer2"]]).all()


def test_an_object_that_a_warp_shows_twice_as_large_is_magnified_by_two() -> None:
    R = 33
    middle = (torch.arange(R - 1) - (R - 2) / 2).abs() < 4
    step = torch.where(middle, -math.log(4) / SHARPNESS, 0.0)  # a quarter of the increments elsewhere
    phi = WarpParams(step.expand(1, 1, -1), step.expand(1, 1, -1))
    grid = warp_grid(phi, (65, 65))[0, 0, 0]
    slope = ((grid[33] - grid[32]) * 64).item()
    found = magnification(phi, Frame(), torch.tensor([[30, 30]]), torch.tensor([5]), (65, 65))
    assert found.item() == pytest.approx(1 / slope, rel=0.05) and found.item() > 2
    boxes = torch.tensor([[3, 9], [0, 0]]), torch.tensor([7, 20])
    still = magnification(WarpParams.identity(2, 5), Frame(), *boxes, (64, 64))
    assert still.tolist() == [1, 1]


def test_a_site_that_reads_the_lower_right_quarter_of_the_image_meets_objects_there() -> None:
    phi = random_warp_params(1, 5, 1.0, generator=torch.Generator().manual_seed(0))
    quarter = Frame((0.5, 0.5), (0.5, 0.5))
    found = magnification(phi, quarter, torch.tensor([[40, 45]]), torch.tensor([9]), (64, 64))
    in_it = magnification(phi, Frame(), torch.tensor([[16.5, 26.5]]), torch.tensor([18]), (64, 64))
    assert found == in_it and abs(found.item() - 1) > 0.1


def test_a_canonicalizer_has_its_warps_for_an_index() -> None:
    metrics, arrays = STUDY(Warps(lambda image: WarpParams.identity(len(image), 4)), subject(1))
    assert metrics == {"index_correlation_at_image": 0, "index_slope_at_image": 0}
    assert np.array_equal(arrays["image_scale"], np.ones((1, 48, 1)))


def test_behind_a_canonicalizer_places_are_those_of_the_warped_image_and_have_no_index(monkeypatch) -> None:
    """The box of the object in the image would be read there. What a channel takes of a whole map has an index."""
    model = Warps(lambda image: WarpParams.identity(len(image), 4))

    def indices(image):
        places = ScaleIndex(torch.ones(len(image), 1, 64, 64, dtype=torch.int64), (1.0, 2.0))
        return {"layer1": places, "layer2": ScaleIndex(torch.ones(len(image), 3, dtype=torch.int64), (1.0, 2.0))}

    monkeypatch.setattr(model.backbone, "scale_indices", indices, raising=False)
    monkeypatch.setattr(model, "ask_backbone", lambda image, ask: ask(image), raising=False)
    monkeypatch.setattr(
        model.backbone,
        "feature_maps",
        lambda image: {"layer1": FeatureMap(image, False, 1.0, 0.0, (0,))},
        raising=False,
    )
    _, arrays = STUDY(model, subject(1))
    assert {name for name in arrays if name.endswith("_scale")} == {"image_scale", "layer2_scale"}
    assert np.array_equal(arrays["layer2_scale"], np.full((1, 48, 3), 2.0))


def test_which_objects_are_studied_does_not_depend_on_how_many() -> None:
    few, more = subject(2).objects([20, 40]), subject(4).objects([40, 20])
    assert torch.equal(few.images, more.images[:2]) and more.sides.tolist() == [20, 40]
    assert few.images.shape == (2, 2, 1, 64, 64) and few.trained == tuple(range(33, 49))
    for n in range(2):
        for s, side in enumerate((20, 40)):
            left, top = few.corners[n, s].tolist()
            inside = few.images[n, s, 0, top : top + side, left : left + side]
            assert inside.sum() > 0 and inside.sum() == pytest.approx(few.images[n, s].sum().item())
