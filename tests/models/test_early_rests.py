"""The copy of the backbone that early features come from: it rests, and its weights are the model's."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from config.schema import TrainConfig
from layers.spec import DEC, EarlyCorrection, Site, Solver
from models.dec import with_dec
from models.wrapped import WrappedBackbone
from tests.models.adapting import BY_NAME
from tests.models.architectures import build
from tests.models.test_early import SEEN, adapted, copied, images, intermediates, trained, vit
from tests.models.test_families import smooth_images
from train.optim import build_learners
from train.runs.checkpoint import start_from


def test_the_copy_rests_while_the_backbone_trains() -> None:
    """Batch norm would move its statistics in training mode, and an optimizer its weights."""
    torch.manual_seed(0)
    model = trained(adapted(backbone=timm.create_model("test_resnet"))).train()
    before = copy.deepcopy(model.state_dict())
    assert not any(part.training for part in copied(model).modules()) and model.backbone.bn1.training
    learners = build_learners(model, TrainConfig(backbone_lr=0.1, canonicalizer_lr=0.1, layer_decay=0.5))
    model(images()).square().mean().backward()
    for learner in learners.values():
        learner.optimizer.step()
    resting = {id(value) for value in copied(model).parameters()}
    assert not resting & {id(value) for learner in learners.values() for value in learner.parameters}
    for name, value in model.state_dict().items():
        is_copy = name.startswith("canonicalizer.module_list.0.0.")
        if is_copy or name in ("backbone.conv1.weight", "backbone.bn1.running_mean"):
            assert torch.equal(value, before[name]) == is_copy, name


@pytest.mark.parametrize("gradient", ["one_step", "implicit", "unrolled"])
@pytest.mark.filterwarnings("ignore:the adjoint of")
def test_every_weight_of_g_learns_and_none_of_the_copy(gradient: str) -> None:
    model = trained(adapted(solver=Solver(max_steps=3, gradient=gradient))).train()
    model(images()).square().mean().backward()
    for name, value in model.canonicalizer.named_parameters():
        if name.startswith("module_list.0.0."):
            assert value.grad is None and not value.requires_grad, name
        else:
            assert value.grad is not None and value.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("gradient", "evaluations", "has_graph"),
    [("one_step", 0, False), ("one_step", 2, False), ("implicit", 0, True), ("unrolled", 0, True)],
)
def test_a_graph_through_the_copy_exists_only_where_phi_asks_for_a_gradient(gradient, evaluations, has_graph) -> None:
    solver = Solver(name="fixed_point", max_steps=2, gradient=gradient, early_stop=False)
    model, seen = trained(adapted(solver=solver)), []
    copied(model).register_forward_hook(lambda module, args, feature: seen.append(feature.requires_grad))
    model(images(1), warps_only=True, evaluations=evaluations)
    assert seen and seen[-1] == has_graph


def test_checkpoints_are_whole() -> None:
    """Another model takes over the copy too, which by then is not the backbone's twin."""
    model, other = trained(adapted(backbone=vit(0))), adapted(backbone=vit(1))
    nn.init.normal_(model.backbone.blocks[0].mlp.fc1.weight)
    state = model.state_dict()
    own = [name for name in state if not model.is_of_backbone(name)]
    assert {name for name in state if "blocks.0.mlp.fc1.weight" in name} == {
        "backbone.blocks.0.mlp.fc1.weight",
        "canonicalizer.module_list.0.0.backbone.blocks.0.mlp.fc1.weight",
    }
    assert all(name.startswith("canonicalizer.") for name in own)
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(other(images()), model(images()))


@pytest.mark.parametrize("method", ["plain", "image", "other early"])
def test_a_run_that_starts_from_anothers_backbone_reads_that(method: str) -> None:
    """The copy of a model that was built on other weights would show features of those."""
    sources: dict[str, Any] = {
        "plain": lambda: WrappedBackbone(vit(1)),
        "image": lambda: with_dec(vit(1), DEC(sites=(Site("image", 4),), equilibrium="residual")),
        "other early": lambda: adapted(backbone=vit(1), early=EarlyCorrection(width=4)),
    }
    model = adapted(backbone=vit(0))
    is_all = start_from(model, sources[method]().state_dict(), "there")
    assert is_all == (method == "plain")
    with torch.no_grad():
        assert torch.equal(copied(model)(images()), intermediates(vit(1), images()))


def test_a_run_that_starts_from_an_equal_one_takes_over_its_copy() -> None:
    source, model = trained(adapted(backbone=vit(1))), adapted(backbone=vit(0))
    source.backbone.load_state_dict(vit(2).state_dict())
    assert start_from(model, source.state_dict(), "there")
    with torch.no_grad():
        assert torch.equal(copied(model)(images()), intermediates(vit(1), images()))


def test_what_a_copy_computed_of_older_weights_is_forgotten() -> None:
    """LeViT keeps its attention biases in evaluation mode until it is told to train."""
    architecture = BY_NAME["levit_128s"]
    torch.manual_seed(0)
    first, second = (build(architecture).eval() for _ in range(2))
    for block in (part for part in second.modules() if hasattr(part, "attention_biases")):
        nn.init.normal_(block.attention_biases)
    spec = DEC(
        sites=(Site("image", 4),), equilibrium="residual", condition="early", early=EarlyCorrection(indices=(0, 1))
    )
    model, image = with_dec(first, spec, image_size=architecture.image_size), smooth_images(2, architecture.image_size)
    with torch.no_grad():
        before = copied(model)(image)
        start_from(model, WrappedBackbone(second).state_dict(), "there")
        assert (before - copied(model)(image)).abs().max() > 1e-3
        assert torch.equal(copied(model)(image), intermediates(second, image, (0, 1)))


def test_copies_of_a_model_stand_alone() -> None:
    model = trained(adapted("input", preprocess=SEEN)).eval()
    image = images(side=190)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            expected = model(image)
            assert torch.equal(twin(image), expected)
            for value in copied(twin).parameters():
                value.add_(1)
            assert torch.equal(model(image), expected) and not torch.equal(twin(image), expected)


@pytest.mark.dist
def test_distributed_training_waits_for_no_weight_of_the_copy(tmp_path: Path) -> None:
    """A second step complains of trainable parameters that the first one did not use."""
    dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        network = DistributedDataParallel(trained(adapted()).train(), find_unused_parameters=False)
        for _ in range(2):
            network(images()).square().mean().backward()
    finally:
        dist.destroy_process_group()
