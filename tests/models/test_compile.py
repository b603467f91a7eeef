"""Compiled models give what eager ones give: three families through the whole compiler, all of them when asked for."""

import copy

import pytest
import torch

from layers.fixed_point import FixedPointSolver
from models.dec import DECModel, Site, with_dec
from tests.models.architectures import ARCHITECTURES, Architecture
from tests.models.test_families import every_architecture, plain_model, smooth_images

THREE = [
    architecture
    for architecture in ARCHITECTURES
    if architecture.name in ("test_vit", "swin_tiny_patch4_window7_224", "test_resnet")
]


def small_dec(architecture: Architecture, *, pools: tuple[int, int] = (4, 2), **options) -> DECModel:
    return with_dec(
        copy.deepcopy(plain_model(architecture)),
        [Site(0, 4, restore=True)],
        channels=(3, 4, 4),
        kernel_sizes=(3, 3),
        pools=pools,
        solver=FixedPointSolver(max_steps=3),
        input_size=32,
        image_size=architecture.image_size,
        **options,
    )


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("architecture", THREE, ids=lambda architecture: architecture.name)
def test_the_whole_model_is_one_graph(architecture):
    """Through dynamo and autograd's tracer; the next test generates code from such graphs."""
    model = small_dec(architecture).eval()
    image = smooth_images(2, architecture.image_size)
    with torch.no_grad():
        expected = model(image)
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.std()))


FIRST = ("test_vit", "image")
COMPILED = [  # a minute or two each; the plain tests have the first one
    pytest.param(architecture, condition, marks=() if (architecture.name, condition) == FIRST else pytest.mark.slow)
    for condition in ("image", "feature")
    for architecture in THREE
]


@pytest.mark.parametrize(("architecture", "condition"), COMPILED)
def test_the_whole_model_compiles_to_one_graph(architecture, condition):
    pools = (4, 2) if condition == "image" else (1, 2)
    model = small_dec(architecture, condition=condition, pools=pools).eval()
    image = smooth_images(2, architecture.image_size)
    with torch.no_grad():
        expected = model(image, return_output=True)
        found = torch.compile(model, fullgraph=True)(image, return_output=True)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-4 * float(expected.logits.std()))
    torch.testing.assert_close(found.phis[0].x, expected.phis[0].x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(architecture, marks=() if architecture.name == "test_vit" else pytest.mark.slow)
        for architecture in THREE
    ],
    ids=lambda architecture: architecture.name,
)
def test_a_backbone_compiled_in_place_trains_like_an_eager_one(architecture):
    """What a training run does: the solver stays eager, the keys stay timm's."""
    eager = small_dec(architecture)
    compiled = copy.deepcopy(eager)
    compiled.backbone.compile()
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    image = smooth_images(2, architecture.image_size)
    for model in (eager, compiled):
        model(image).square().mean().backward()
    for (name, left), right in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if left.grad is not None:
            error = (left.grad - right.grad).norm()
            assert error <= 1e-3 * left.grad.norm() + 1e-5, name


@pytest.mark.slow
@every_architecture
def test_every_family_compiles(architecture):
    """Through dynamo and autograd's tracer, which is where families differ; code generation is covered above."""
    if architecture.name == "efficientvim_m1":
        pytest.skip("returns a tuple from its stages, which cannot be restored")
    model = small_dec(architecture).eval()
    image = smooth_images(2, architecture.image_size)
    with torch.no_grad():
        expected = model(image)
        found = torch.compile(model, backend="aot_eager")(image)
    assert (found - expected).abs().max() <= 1e-4 * expected.std()
