"""The light DEC: what its options promise before any training, on real photographs."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from benchmarks.contraction import crops, gradient_errors
from config.load import load_recipes
from layers.canonicalizer import Canonicalizer
from layers.spec import DEC
from models.dec import with_dec
from models.light import LIGHT
from tests.models.test_export import photographs
from tests.models.test_families import smooth_images


def light_map() -> Canonicalizer:
    torch.manual_seed(0)
    of_maps = {name: value for name, value in vars(LIGHT).items() if name != "sites"}
    return Canonicalizer([site.grid_size for site in LIGHT.sites], **of_maps)


def test_it_adapts_a_backbone_and_trains() -> None:
    model = with_dec(timm.create_model("test_vit", num_classes=10), LIGHT)
    image = torch.rand(2, 3, *model.sites[0].image_size)
    model(image).square().sum().backward()
    assert all(part.grad is not None for part in model.canonicalizer.parameters())


def test_its_search_converges_on_sharp_photographs_to_warps_that_depend_on_them() -> None:
    with torch.no_grad():
        form = light_map()(crops(224))
    assert form.residual.max() < 1e-2
    phi = torch.cat([part.flatten(1) for part in form.phis[0]], dim=1)
    assert phi.std(0).mean() > 0.01


def test_its_implicit_gradient_is_that_of_many_unrolled_steps() -> None:
    errors = gradient_errors(light_map(), crops(224), damping=0.5)
    assert errors["implicit"] < 0.01 < errors["one_step"]


def test_the_recipe_has_the_same_options() -> None:
    ((_, config),) = load_recipes("config_1.yaml", "light_dem")
    assert isinstance(config.method, DEC)
    # The recipe's images are grey, and so have no statistics of three channels.
    assert replace(config.method, channels=LIGHT.channels, normalize=LIGHT.normalize) == LIGHT
    assert config.method.channels[1:] == LIGHT.channels[1:]


def test_it_exports() -> None:
    """Antialiased resizing and separable warps included; an image that has converged is frozen in the graph too.

    The graph is made once, of smooth images, and given photographs too; without them the test ends as skipped.
    """
    onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    torch.manual_seed(0)
    model = with_dec(timm.create_model("test_vit", img_size=96), LIGHT).eval()
    image = smooth_images(2, (96, 96))
    with torch.no_grad():
        exported = torch.export.export(model, (image,)).module()
        program = torch.onnx.export(model, (image,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for images in (smooth_images, photographs):
        image = images(2, (96, 96))
        with torch.no_grad():
            expected = model(image)
            assert expected.std() > 0.1
            assert (exported(image) - expected).abs().max() <= 1e-4
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        assert np.abs(found - expected.numpy()).max() <= 1e-4


def test_it_compiles_to_one_graph() -> None:
    """Through dynamo and autograd's tracer; what a replayed CUDA graph of the whole model needs."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = with_dec(timm.create_model("test_vit", img_size=96), LIGHT).eval()
    image = smooth_images(2, (96, 96))
    with torch.no_grad():
        expected = model(image)
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    torch._dynamo.reset()
