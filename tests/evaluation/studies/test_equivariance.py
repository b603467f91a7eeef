"""The equivariance error, against its formula and where it is exactly zero."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from evaluation.maps import maps_of
from evaluation.studies import equivariance
from evaluation.studies.equivariance import OPERATORS, SCALES, STUDY, errors, pairs
from layers.scale.correlation import ScaleCorrelation
from layers.scale.scale_space import ScaleSpace
from layers.spec import DEC, Site
from models.dec import with_dec
from models.scale_zoo.network import FeatureMap
from models.scale_zoo.stir2 import Stir2
from models.scale_zoo.system import System
from models.wrapped import WrappedBackbone
from tests.evaluation.studies.stand_ins import network, subject, wrapped

IMAGES = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
TINY = 1e-10  # of float32, squared


def half(model: Any, layer: str) -> torch.Tensor:
    """The errors at half the size, every second pixel taken."""
    ratio, _, count = errors(model, IMAGES, ["subsample"], [0.5])[layer]
    assert (count > 0).all()
    return ratio


class ByPlace(nn.Module):
    """A network without a kernel, all of whose maps move along with the image; its map is told as the zoo's are."""

    def __init__(self, after: nn.Module, channels: int = 3):
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(1, channels, 1), after)

    def feature_maps(self, x: torch.Tensor) -> dict[str, FeatureMap]:
        return {"layer": FeatureMap(self.layer(x), False, 1, 0, (0,))}

    def scale_values(self, stage: nn.Module) -> tuple[float, ...]:
        return ()


@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_disco_is_equivariant_to_half_the_size(layer) -> None:
    """Its kernel at scale 2 has the taps of that at scale 1, twice as far apart."""
    assert half(network("disco"), layer).max() < TINY
    assert half(network("hermite"), layer).min() > 1e-3  # a sampled function is another one


@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_deep_scale_spaces_are_equivariant_to_half_the_size_but_for_their_blur(layer) -> None:
    def model(blur: float) -> WrappedBackbone:
        def first(i, o, at):
            return ScaleCorrelation(i, o, 3)

        lift = partial(ScaleSpace, 3, blur=blur)
        torch.manual_seed(0)
        return WrappedBackbone(Stir2(System(first=first, lift=lambda _: lift(), maps="lifted", scales=(1.0, 2.0, 4.0))))

    assert half(model(1e-4), layer).max() < TINY
    assert half(model(0.5), layer).min() > 1e-3  # every second pixel was not blurred before


def test_what_sees_single_places_moves_along_with_the_image() -> None:
    linear, rectified = (WrappedBackbone(ByPlace(after)) for after in (nn.Identity(), nn.ReLU()))
    scales = [0.5, 0.59, 0.84]
    assert errors(linear, IMAGES, OPERATORS, scales)["layer"][0].max() < TINY
    assert errors(rectified, IMAGES, ["subsample"], scales)["layer"][0].max() < TINY


def test_an_image_whose_map_is_empty_has_no_error(monkeypatch) -> None:
    """Its infinite one would decide the mean over the others."""
    model = WrappedBackbone(ByPlace(nn.Identity()))
    whole, small = (maps_of(model, IMAGES[:2])["layer"] for _ in range(2))
    whole.value[1] = 0
    shown = iter([{"layer": whole}, {"layer": small}])
    monkeypatch.setattr("evaluation.studies.equivariance.maps_of", lambda *_: next(shown))
    ratio, reference, _ = errors(model, IMAGES[:2], ["subsample"], [0.5])["layer"]
    assert ratio[..., 0].isfinite().all() and reference[..., 1].max() == 0 and ratio[..., 1].isnan().all()


def test_the_error_is_the_formula_of_a_plain_network_at_half_the_size() -> None:
    model = network("standard")
    image = IMAGES[:1]
    read = [32 + 2 * (q - 32) for q in range(64)]
    inside = [min(max(x, 0), 63) for x in read]
    maps = model.backbone.feature_maps
    whole, small = (maps(one)["layer2"].value[0].double() for one in (image, image[..., inside, :][..., inside]))
    # A place sees 13 pixels; the smaller content spans pixels 16 to 47, and all of the image is content.
    places = [q for q in range(64) if q - 6 >= 16 and q + 6 <= 47 and 6 <= read[q] <= 57]
    difference = reference = 0.0
    for y in places:
        for x in places:
            expected, actual = whole[:, read[y] - 6, read[x] - 6], small[:, y - 6, x - 6]
            difference += ((expected - actual) ** 2).sum().item()
            reference += (expected**2).sum().item()
    ratio, mean, count = errors(model, image, ["subsample"], [0.5])["layer2"]
    assert ratio.item() == pytest.approx(difference / reference, rel=1e-6) and ratio > 0.01
    assert count.item() == 32 * len(places) ** 2
    assert mean.item() == pytest.approx(reference / count.item(), rel=1e-6)


def test_an_image_and_its_equal_have_no_error_at_the_scale_one() -> None:
    for model in (network("dss"), wrapped("test_resnet", num_classes=3, in_chans=1)):
        for ratio, *_ in errors(model, IMAGES, ["bicubic", "area", "subsample"], [1.0]).values():
            assert ratio.max() < TINY


def test_a_scale_of_the_smaller_image_belongs_to_a_larger_one_of_the_image() -> None:
    assert [pair.image for pair in pairs((1.0, 2.0, 4.0), 0.5)] == [1, 2, -1]
    assert [pair.image for pair in pairs((1.0, 2.0, 4.0), 0.25)] == [2, -1, -1]
    assert [pair.image for pair in pairs((1.0, 1.26, 1.59, 2.0), 0.5)] == [3, -1, -1, -1]
    sides = pairs((7.0, 9.0, 11.0, 13.0, 15.0), 7 / 11)  # no orbit: only the first has its equal
    assert [pair.image for pair in sides] == [2, 4, -1, -1, -1]
    assert sides[0].off == pytest.approx(0) and sides[1].off == pytest.approx(math.log2(15 / 9 * 7 / 11))
    assert pairs((3.0,), 0.5) == [(0, 0.0)]


def test_a_map_without_a_scale_axis_has_one_whatever_its_layers_are() -> None:
    shapes = {system: maps_of(network(system), IMAGES)["layer2"] for system in ("standard", "c4", "xu", "dss_v2")}
    assert shapes["standard"].value.shape == (2, 32, 1, 52, 52) and shapes["standard"].reach == (6.0,)
    assert shapes["c4"].value.shape[2] == 1 and shapes["c4"].value.ndim == 5
    assert shapes["xu"].scales == (3, 5, 7, 9, 11) and len(shapes["xu"].reach) == 5
    assert shapes["dss_v2"].scales == (1, 2, 4) and shapes["dss_v2"].stride[0] == 4


def test_a_convolution_over_scales_leaves_none_and_the_largest_answer_counts() -> None:
    model = network("conv3d_coarse")
    value = model.backbone.feature_maps(IMAGES[:1])["layer2"].value
    found = maps_of(model, IMAGES[:1])["layer2"]
    assert torch.equal(found.value[:, :, 0], value.amax(2)) and found.scales == (1.0,)


def test_a_timm_model_has_the_maps_of_all_its_stages_and_a_canonicalizer_that_rests_has_them_too() -> None:
    options = {"num_classes": 3, "in_chans": 1}
    plain = wrapped("test_resnet", **options)
    torch.manual_seed(0)
    backbone = timm.create_model("test_resnet", **options).eval()
    spec = DEC(equilibrium="residual", sites=(Site("image", 4),))
    adapted = with_dec(backbone, spec, image_size=64).eval()
    with torch.no_grad():
        ours, theirs = (errors(model, IMAGES, ["bicubic"], [0.5]) for model in (plain, adapted))
    assert list(ours) == [info["module"] for info in plain.backbone.feature_info] == list(theirs)
    for layer, (ratio, *_) in ours.items():
        assert np.array_equal(ratio, theirs[layer][0], equal_nan=True)
    *first, last = ours.values()  # places of 32 pixels fit no content of 32
    assert all(ratio.min() > 1e-4 for ratio, *_ in first) and last[0].isnan().all() and (last[2] == 0).all()


def test_positions_are_those_of_the_image_whatever_size_the_backbone_sees() -> None:
    """The image at twice its size goes through a network: strides halve, and edges lie on edges."""
    model = wrapped("test_resnet", num_classes=3, in_chans=1)
    small = maps_of(model, IMAGES[..., :32, :32])["layer2"]
    model.preprocess = Twice()
    large = maps_of(model, IMAGES[..., :16, :16])["layer2"]
    assert large.value.shape == small.value.shape
    assert large.stride == pytest.approx([stride / 2 for stride in small.stride])
    assert large.start == pytest.approx([(start + 0.5) / 2 - 0.5 for start in small.start])


class Twice(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(image, scale_factor=2)

    def frame(self, size):
        from layers.frame import Frame

        return (2 * size[0], 2 * size[1]), Frame.resized((2 * size[0], 2 * size[1]), size)


@pytest.fixture
def few(monkeypatch) -> tuple[int, int]:
    """Two operators at two scales, which take a quarter of the time."""
    monkeypatch.setattr(equivariance, "OPERATORS", OPERATORS[:2])
    monkeypatch.setattr(equivariance, "SCALES", (SCALES[0], SCALES[3]))
    return 2, 2


def test_a_study_tells_the_trained_and_the_random_network_and_what_was_compared(few) -> None:
    def look():
        return STUDY(network("dss"), subject(1, fresh=lambda: network("dss", seed=1)))

    metrics, arrays = look()
    kinds = [f"{word}equivariance_{kind}_at" for word in ("", "random_") for kind in ("error", "scales")]
    assert set(metrics) == {f"{kind}_layer{n}" for kind in kinds for n in (1, 2)}
    assert arrays["trained_error"].shape == (2, *few, 1) == arrays["random_reference"].shape
    told = arrays["trained_error"][1, list(arrays["operators"]).index("bicubic")]
    assert metrics["equivariance_error_at_layer2"] == pytest.approx(np.nanmean(told))
    assert metrics["equivariance_scales_at_layer2"] == (~np.isnan(told)).any(-1).sum()
    assert arrays["layer1_paired"].tolist() == [[1, 2, -1], [0, 1, 2]]
    assert arrays["layer1_off"][1] == pytest.approx([-0.25] * 3)
    assert not np.allclose(arrays["trained_error"], arrays["random_error"])
    for key, value in look().arrays.items():
        assert np.array_equal(value, arrays[key], equal_nan=value.dtype.kind == "f")


def test_a_dead_layer_has_no_error_and_is_told_by_its_size(few) -> None:
    model = network("standard")
    with torch.no_grad():
        model.backbone.layer2.conv.bias.fill_(-100)
    metrics, arrays = STUDY(model, subject(2))
    assert "equivariance_error_at_layer2" not in metrics and "equivariance_error_at_layer1" in metrics
    assert np.isnan(arrays["trained_error"][1]).all() and (arrays["trained_reference"][1] == 0).all()


def test_nothing_of_the_model_is_changed(few) -> None:
    model = network("standard").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    STUDY(model, subject(1))
    assert model.training and all(value.grad is None for value in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_without_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="has equivariance, which needs the maps of a network of the zoo, or timm's"):
        STUDY.check(WrappedBackbone(nn.Sequential(nn.Flatten(), nn.Linear(4096, 3))), subject(1))
