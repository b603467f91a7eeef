"""Exported and compiled residual DECs give what eager ones give, from the image and from early features."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layers.spec import DEC, Condition, EarlyCorrection, Site, Solver
from models.dec import DECModel, with_dec
from tests.models.architectures import Architecture
from tests.models.test_compile import THREE, fresh_compiler
from tests.models.test_families import plain_model, smooth_images

__all__ = ["fresh_compiler"]  # a fixture that acts here too

OPTIONS: dict[Condition, dict[str, EarlyCorrection]] = {
    "image": {},
    "early": {"early": EarlyCorrection(width=8, channels=(8, 8))},
}
CASES = [  # the plain tests have one family
    pytest.param(architecture, condition, marks=() if architecture.name == "test_vit" else pytest.mark.slow)
    for architecture in THREE
    for condition in OPTIONS
]


def adapted(architecture: Architecture, condition: Condition) -> DECModel:
    """With a head that corrects something, where an untrained one leaves all as it is."""
    torch.manual_seed(0)
    spec = DEC(
        sites=(Site("image", 4),),
        equilibrium="residual",
        condition=condition,
        solver=Solver(name="fixed_point", max_steps=2),
        **OPTIONS[condition],
    )
    model = with_dec(copy.deepcopy(plain_model(architecture)), spec, image_size=architecture.image_size)
    nn.init.normal_(model.canonicalizer.module_list[0][-1].weight, std=0.5)
    return model.eval()


def expected(model: DECModel, image: Tensor) -> tuple[Tensor, float]:
    """The eager logits, and what others may differ by; the warps that are found must be none of identities."""
    with torch.no_grad():
        found = model(image, return_output=True)
    assert (found.phis[0].x - 1).abs().max() > 0.01
    return found.logits, 1e-4 * max(1.0, float(found.logits.std()))


@pytest.mark.parametrize(("architecture", "condition"), CASES)
def test_export_and_onnx_equal_eager(architecture: Architecture, condition: Condition) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    model, image = adapted(architecture, condition), smooth_images(2, architecture.image_size)
    with torch.no_grad():
        exported = torch.export.export(model, (image,)).module()
        program = torch.onnx.export(model, (image,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for given in (image, image.flip(-1)):  # the graphs are of the first, and must hold for others
        logits, bound = expected(model, given)
        with torch.no_grad():
            assert (exported(given) - logits).abs().max() <= bound
        (found,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        assert np.abs(found - logits.numpy()).max() <= bound


@pytest.mark.parametrize(("architecture", "condition"), CASES)
def test_the_whole_model_is_one_graph(architecture: Architecture, condition: Condition) -> None:
    """Through dynamo and autograd's tracer; the next test generates code from such graphs."""
    model, image = adapted(architecture, condition), smooth_images(2, architecture.image_size)
    logits, bound = expected(model, image)
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(image)
    assert (found - logits).abs().max() <= bound


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "condition"), CASES)
def test_the_whole_model_compiles_to_one_graph(architecture: Architecture, condition: Condition) -> None:
    model, image = adapted(architecture, condition), smooth_images(2, architecture.image_size)
    logits, bound = expected(model, image)
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True)(image)
    assert (found - logits).abs().max() <= bound


@pytest.mark.parametrize("condition", OPTIONS)
def test_a_map_compiled_in_place_trains_like_an_eager_one(condition: Condition) -> None:
    """The keys stay, and the copy that early features come from goes on resting."""
    architecture = next(architecture for architecture in THREE if architecture.name == "test_vit")
    eager = adapted(architecture, condition).train()
    compiled = copy.deepcopy(eager)
    compiled.canonicalizer.module_list[0].compile(backend="aot_eager")
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    image = smooth_images(2, architecture.image_size)
    for model in (eager, compiled):
        model(image).square().mean().backward()
    for (name, left), right in zip(
        eager.canonicalizer.named_parameters(), compiled.canonicalizer.parameters(), strict=True
    ):
        assert (left.grad is None) == (right.grad is None) == (not left.requires_grad), name
        if left.grad is not None:
            assert (left.grad - right.grad).norm() <= 1e-3 * left.grad.norm() + 1e-5, name
