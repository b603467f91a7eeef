"""An adapted model among timm and torch: files, checkpoints, optimizers, heads, modes."""

import io

import pytest
import torch
from timm.data import resolve_data_config
from timm.optim import create_optimizer_v2
from torch import nn

from layers.grid import WarpParams
from tests.models.adapting import (
    BY_NAME,
    SITES,
    SWIN,
    adapted,
    images,
    plain,
)
from tests.models.architectures import build


def saved_and_loaded(value, **options):
    file = io.BytesIO()
    torch.save(value, file)
    return torch.load(io.BytesIO(file.getvalue()), **options)


@torch.no_grad()
def test_models_and_states_survive_a_file():
    model, image = adapted(), images()
    expected = model(image)
    whole = saved_and_loaded(model, weights_only=False)
    torch.testing.assert_close(whole(image), expected, rtol=0, atol=0)
    other = adapted(backbone=build(BY_NAME["test_vit"], seed=1))
    for parameter in other.canonicalizer.parameters():
        parameter.add_(0.1)
    assert (other(image) - expected).abs().max() > 0.1
    other.load_state_dict(saved_and_loaded(model.state_dict(), weights_only=True), strict=True)
    torch.testing.assert_close(other(image), expected, rtol=0, atol=0)
    for parameter in model.parameters():
        parameter.zero_()
    torch.testing.assert_close(whole(image), expected, rtol=0, atol=0)


@torch.no_grad()
def test_a_plain_checkpoint_of_timm_loads_into_the_backbone_after_it_was_adapted():
    other = build(BY_NAME["test_vit"], seed=1)
    model = adapted()
    model.backbone.load_state_dict(saved_and_loaded(other.state_dict(), weights_only=True), strict=True)
    identity = [WarpParams.identity(2, site.grid_size) for site in SITES]
    torch.testing.assert_close(model.predict(images(), identity), other(images()), rtol=1e-5, atol=1e-5)


def test_timm_reads_its_configuration_off_an_adapted_model():
    model, network = adapted(), plain()
    assert resolve_data_config({}, model=model) == resolve_data_config({}, model=network)
    assert model.default_cfg == network.default_cfg
    assert model.num_classes == 10
    assert model.get_classifier() is model.backbone.head


def test_timms_optimizer_takes_every_parameter_and_decays_the_same_ones():
    model, network = adapted(), plain()
    decays = {}
    for key, module in (("adapted", model), ("plain", network)):
        optimizer = create_optimizer_v2(module, "adamw", lr=1e-3, weight_decay=0.05)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        decays[key] = {
            names[id(parameter)]: group["weight_decay"]
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        assert len(decays[key]) == len(names)
    assert network.no_weight_decay()
    for name, decay in decays["plain"].items():
        assert decays["adapted"][f"backbone.{name}"] == decay, name
    assert decays["adapted"]["canonicalizer.module_list.0.0.conv1.weight"] == 0.05


@pytest.mark.parametrize("name", ["test_vit", SWIN, "test_convnext", "test_resnet"])
def test_layer_decay_scales_the_backbone_as_timm_does(name):
    def scales(model: nn.Module) -> dict[int, float]:
        groups = create_optimizer_v2(model, "adamw", lr=1.0, layer_decay=0.5).param_groups
        return {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}

    backbone = plain(name)
    expected = scales(backbone)
    model = adapted(name, backbone=backbone)
    found = scales(model)
    assert {key: found[key] for key in expected} == expected
    assert {found[id(parameter)] for parameter in model.canonicalizer.parameters()} == {1.0}


def test_a_fresh_head_gives_other_classes_from_the_same_features():
    model = adapted()
    features = model.forward_features(images())
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(images()).shape == (2, 7)
    torch.testing.assert_close(model.forward_features(images()), features, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_an_adapted_network_goes_on_in_its_mode(training):
    model = adapted(backbone=plain().train(training))
    assert {part.training for part in model.modules()} == {training}
