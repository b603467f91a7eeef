"""An exported segmenter gives the eager map, plain and behind warps that are undone on it."""

import numpy as np
import pytest
import torch

from layers.fixed_point import FixedPointSolver
from models.dec import Site, with_dec
from models.dense import with_decoder
from tests.models.adapting import BY_NAME, SMALL
from tests.models.architectures import build
from tests.models.test_families import smooth_images


@pytest.mark.parametrize(("name", "decoder"), [("test_vit", "linear"), ("test_resnet", "fusion")])
@torch.no_grad()
def test_export_and_onnx_equal_eager(name, decoder):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    torch.manual_seed(0)
    architecture = BY_NAME[name]
    segmenter = with_decoder(build(architecture), 5, name=decoder, width=8).eval()
    sites = [Site("image", 4, restore=True, restore_at="output"), Site(0, 4, restore=True)]
    solver = FixedPointSolver(max_steps=4)
    model = with_dec(segmenter, sites, **SMALL, solver=solver, image_size=architecture.image_size).eval()
    image = smooth_images(2, architecture.image_size)
    expected = model(image)
    bound = 1e-4 * max(1.0, float(expected.std()))
    exported = torch.export.export(model, (image,)).module()
    assert (exported(image) - expected).abs().max() <= bound
    program = torch.onnx.export(model, (image,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    assert found.shape == (2, 5, *architecture.image_size)
    assert np.abs(found - expected.numpy()).max() <= bound
