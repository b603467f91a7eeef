"""The networks of the zoo beside the published ones: counts, and all numbers of a forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import models.scale_zoo  # noqa: F401  (makes the networks known to timm)
from tests.layers.scale.golden import FOLDER, golden

STIR2 = ("standard", "pixel_pool", "slice_pool", "conv3d", "ensemble", "spatial_transform", "kanazawa", "hermite")
MNIST3 = {
    "cnn_28": "standard",
    "cnn_56": "standard_56",
    "ses_vector_28": "hermite",
    "ses_scalar_56p": "hermite_scalar_56_plus",
    "dss_vector_28": "dss",
    "dss_scalar_28": "dss_scalar",
}
COUNTED = {
    **{f"{system}_{size}": f"{system}{end}" for system in ("kanazawa", "xu") for size, end in ((28, ""), (56, "_56"))},
    **{"cnn_28": "standard", "cnn_56": "standard_56"},
    **{"dss_vector_28": "dss", "dss_vector_56": "dss_56"},
    **{"dss_scalar_28": "dss_scalar", "dss_scalar_56": "dss_scalar_56"},
    **{"ses_vector_28": "hermite", "ses_vector_28p": "hermite_plus"},
    **{"ses_vector_56": "hermite_56", "ses_vector_56p": "hermite_56_plus"},
    **{"ses_scalar_28": "hermite_scalar", "ses_scalar_28p": "hermite_scalar_plus"},
    **{"ses_scalar_56": "hermite_scalar_56", "ses_scalar_56p": "hermite_scalar_56_plus"},
    "disco_repo_disco": "disco_56",
    **{f"scale_learning_mode{number}": f"learned_scales_{name}" for number, name in enumerate(
        ("fixed", "direct", "ratios", "ratios_squared", "ratio"), start=1
    )},
    "scale_learning_mode6": "learned_scales",
    "scale_learning_mode6_basis_per_layer": "learned_scales_per_layer",
}  # fmt: skip


def with_published_weights(name: str, settings: dict[str, Any], **options: Any) -> nn.Module:
    """A network in float64 whose numbers are drawn by the rule of the files, in the order of its parameters."""
    model = timm.create_model(name, **options).double().eval()
    seed = 1000 * settings["seed"]
    with torch.no_grad():
        for number, (parameter, (key, shape, kind)) in enumerate(
            zip(model.parameters(), settings["params"], strict=True)
        ):
            drawn = np.random.RandomState(seed + number).uniform(-1, 1, shape)
            drawn = {"W": drawn * np.sqrt(3 / np.prod(shape[1:])), "S": 1 + 0.1 * drawn, "B": 0.1 * drawn}[kind]
            if key == "transform_model.9.weight":
                drawn = 0.2 * drawn
            if key == "transform_model.9.bias":
                drawn = drawn + np.array([1, 0, 0, 0, 1, 0])
            assert parameter.numel() == np.prod(shape)
            parameter.copy_(torch.from_numpy(drawn).reshape(parameter.shape))
        buffers = [buffer for key, buffer in model.named_buffers() if "running" in key]
        for number, (buffer, (key, shape)) in enumerate(zip(buffers, settings.get("buffers", []), strict=True)):
            drawn = torch.from_numpy(np.random.RandomState(seed + 500 + number).uniform(-1, 1, shape))
            buffer.copy_(0.05 * drawn if key.endswith("mean") else 1 + 0.2 * drawn)
    return model


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", STIR2)
def test_stir2(name: str) -> None:
    values, settings = golden(f"stir_model_{name}_C1_n10")
    model = with_published_weights(f"stir2_{name}", settings)
    same(model(values["x"]), values["logits"])
    if "features" in values:
        same(model.forward_head(model.forward_features(values["x"]), pre_logits=True), values["features"])
        for number, found in enumerate(model.feature_maps(values["x"]).values(), start=1):
            assert list(found.value.shape) == values[f"stage{number}_shape"].tolist()
            same(found.value.sum(), values[f"stage{number}_sum"])
            same(found.value.square().sum(), values[f"stage{number}_sumsq"])
    if "pool1_idx" in values:
        for number, found in enumerate(model.scale_indices(values["x"]).values(), start=1):
            wanted, index = values[f"pool{number}_idx"], found.level
            assert torch.equal(index if index.ndim == 2 else index[:, ::5, ::8, ::8], wanted)
            assert found.scales[:3] == (7.0, 9.0, 11.0)


def test_stir2_of_colours() -> None:
    values, settings = golden("stir_model_standard_C3_n16")
    model = with_published_weights("stir2_standard", settings, in_chans=3, num_classes=16)
    same(model(values["x"]), values["logits"])


def test_stir2_disco() -> None:
    """Of the published functions exactly. Of those in closed form nearly, as far as the two differ."""
    values, settings = golden("stir_model_disco_C1_n10")
    model = with_published_weights("stir2_disco", settings)
    ours = model.feature_maps(values["x"])["layer1"].value
    logits = model(values["x"])
    for stage in (model.layer1, model.layer2):
        stage.conv.functions.constant.value = values["basis_float32"].double()
    same(model(values["x"]), values["logits"])
    published = model.feature_maps(values["x"])["layer1"].value
    assert (ours - published).norm() < 5e-3 * published.norm()
    assert (logits - values["logits"]).norm() < 1e-3 * values["logits"].norm()


def test_stir2_counts() -> None:
    with np.load(FOLDER / "stir_param_counts.npz") as file:
        for row, name in enumerate(file["models"]):
            for column, (channels, classes) in enumerate(file["configs"]):
                model = timm.create_model(f"stir2_{name}", in_chans=int(channels), num_classes=int(classes))
                assert sum(p.numel() for p in model.parameters()) == file["counts"][row, column], name


@pytest.mark.parametrize("published", MNIST3)
def test_mnist3(published: str) -> None:
    values, settings = golden(f"mnist3_{published}")
    model = with_published_weights(f"mnist3_{MNIST3[published]}", settings)
    same(model(values["x"]), values["logits"])
    for number, found in enumerate(model.feature_maps(values["x"]).values(), start=1):
        assert list(found.value.shape) == values[f"block{number}_shape"].tolist()
        same(found.value.sum(), values[f"block{number}_sum"])
        same(found.value.square().sum(), values[f"block{number}_sumsq"])


def test_mnist3_counts() -> None:
    with np.load(FOLDER / "mnist3_param_counts.npz") as file:
        known = {str(name): (total, free) for name, total, free in zip(
            file["models"], file["counts"], file["trainable"], strict=True
        )}  # fmt: skip
    for published, name in COUNTED.items():
        parameters = list(timm.create_model(f"mnist3_{name}").parameters())
        assert sum(p.numel() for p in parameters) == known[published][0], published
        assert sum(p.numel() for p in parameters if p.requires_grad) == known[published][1], published
    assert len(known) - len(COUNTED) == 1  # a second SESN of the same count, from DISCO's authors
