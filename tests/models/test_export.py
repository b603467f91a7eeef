"""Exported models give the eager logits, of smooth images and of photographs where there are some."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from layers.fixed_point import FixedPointSolver
from models.dec import DECModel, Site, with_dec
from tests.models.architectures import Architecture, build
from tests.models.test_compile import THREE
from tests.models.test_families import smooth_images


def adapted(architecture: Architecture) -> DECModel:
    torch.manual_seed(0)
    return with_dec(
        build(architecture),
        [Site("image", 4), Site(0, 5, restore=True)],
        channels=(3, 4, 4),
        kernel_sizes=(5, 3),
        pools=(4, 2),
        solver=FixedPointSolver(max_steps=4),
        input_size=224,
        image_size=architecture.image_size,
    ).eval()


def photographs(count: int, size: tuple[int, int]) -> Tensor:
    root = os.environ.get("LSE_DATA")
    if not root:
        pytest.skip("LSE_DATA names no folder with photographs")
    files = sorted(Path(root, "data", "imagenet_photos").glob("*/*.jpg"))[:count]
    images = [np.asarray(Image.open(file).convert("RGB").resize(size[::-1])) for file in files]
    return (torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25


@pytest.mark.parametrize("architecture", THREE, ids=lambda architecture: architecture.name)
def test_export_and_onnx_equal_eager(architecture):
    """At the published input size: the map amplifies rounding the more the sharper its input is.

    Each graph is made once, of smooth images, and given photographs too; without them the test ends as skipped.
    """
    onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    model, image = adapted(architecture), smooth_images(2, architecture.image_size)
    with torch.no_grad():
        exported = torch.export.export(model, (image,)).module()
        program = torch.onnx.export(model, (image,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for images in (smooth_images, photographs):
        image = images(2, architecture.image_size)
        with torch.no_grad():
            expected = model(image)
            spread = float(expected.std())
            assert spread > 0.1
            bound = 1e-4 * max(1.0, spread)  # the ResNet's logits spread over several units
            assert (exported(image) - expected).abs().max() <= bound
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        assert np.abs(found - expected.numpy()).max() <= bound


def test_exported_models_take_other_batch_sizes():
    model = adapted(THREE[0])
    image = smooth_images(3, THREE[0].image_size)
    dynamic = {"image": {0: torch.export.Dim("batch", min=1, max=64)}, "return_output": None}
    with torch.no_grad():
        exported = torch.export.export(model, (image[:2],), {"return_output": False}, dynamic_shapes=dynamic)
        assert (exported.module()(image, return_output=False) - model(image)).abs().max() <= 1e-4
