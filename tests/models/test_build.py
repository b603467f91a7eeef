"""Models from recipes: names, first weights, and what is refused."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from config.schema import Config, ConfigError, DigitsData, EvaluationConfig, ModelConfig, PictureData
from layers.monotone import monotone_warp
from layers.spec import DEC, Candidates, Energy, Method, Plain, Site
from models.build import build_backbone, build_model, check_fit, read_weights
from models.preprocess import Preprocess

SITES = (Site(stage="image"),)
SMALL: dict[str, Any] = {"kernel_sizes": (3,), "channels": (3, 4)}
METHODS: dict[str, Method] = {
    "base": Plain(),
    "dec": DEC(sites=SITES, pools=(2,), input_size=16, **SMALL),
    "energy": Energy(sites=SITES, input_size=16, **SMALL),
    "candidates": Candidates(limit=2, channels=(3, 4, 1)),
}


def config_of(backbone: str = "test_vit", **options: Any) -> ModelConfig:
    return ModelConfig(backbone=backbone, **{"pretrained": False, "image_size": 32, **options})


def built(method: str, model: ModelConfig, num_classes: int = 7, **data: Any) -> Any:
    return build_model(Config(model=model, data=DigitsData(**data), method=METHODS[method]), num_classes, seed=3)


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_methods_share_the_backbones_names_and_first_weights(backbone: str) -> None:
    plain = timm.create_model(backbone, num_classes=7)
    states = {}
    for method in METHODS:
        state = built(method, config_of(backbone)).state_dict()
        states[method] = {name: value for name, value in state.items() if name.startswith("backbone.")}
        assert states[method].keys() == {f"backbone.{name}" for name in plain.state_dict()}
        assert all(torch.equal(value, states["base"][name]) for name, value in states[method].items())
        assert (state.keys() > states[method].keys()) == (method != "base")


@pytest.mark.parametrize("method", METHODS)
def test_the_canonicalizer_sees_the_image_and_the_backbone_what_is_processed(method: str) -> None:
    model = built(method, config_of("test_resnet", resize=40)).eval()
    seen: dict[str, torch.Tensor] = {}
    if method == "dec":
        model.canonicalizer.register_forward_pre_hook(lambda module, args: seen.update(own=args[0]))
    model.backbone.register_forward_pre_hook(lambda module, args: seen.update(backbone=args[0]))
    image = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        assert model(image).shape == (2, 7)
        assert seen["backbone"].shape[-2:] == (32, 32)
        if method == "base":
            assert torch.equal(seen["backbone"], model.preprocess(image))
            assert model.preprocess.mean.flatten().tolist() == pytest.approx(model.backbone.pretrained_cfg["mean"])
        if method == "dec":
            assert torch.equal(seen["own"], image)
    assert seen["backbone"].min() < 0  # normalized


def test_grey_images_have_one_mean_and_a_first_layer_of_one_channel() -> None:
    model = built("base", config_of("test_efficientnet"), channels=1)
    for name in ("mean", "std"):
        published = model.backbone.pretrained_cfg[name]
        assert len(set(published)) == 3, "were they equal, any of them would do"
        assert getattr(model.preprocess, name).flatten().tolist() == pytest.approx([sum(published) / 3])
    assert model(torch.rand(2, 1, 56, 56)).shape == (2, 7)


def test_the_limits_of_the_images_reach_the_preprocessing() -> None:
    assert built("base", config_of()).preprocess.limits == (0, 1)
    assert built("base", config_of(), standardize=True).preprocess.limits is None


@pytest.mark.parametrize("method", METHODS)
def test_pictures_come_normalized_and_need_no_preprocessing(method: str) -> None:
    of_pictures = {"data": PictureData(name="shapes"), "evaluation": EvaluationConfig(split="val")}
    config = Config(model=config_of(), method=METHODS[method], **of_pictures)
    model: Any = build_model(config, 7, seed=3)
    assert isinstance(model.preprocess, nn.Identity)
    assert model.state_dict().keys() == {
        name for name in built(method, config_of()).state_dict() if not name.startswith("preprocess.")
    }


def of_pictures(side: int | None, stage: str = "image", image_size: int | None = 32) -> Any:
    """A DEC on pictures of this side, without training."""
    config = Config(
        data=PictureData(name="shapes", side=side),
        model=config_of("test_resnet", image_size=image_size),
        method=DEC(sites=(Site(stage=stage),), pools=(2,), input_size=16, normalize=False, **SMALL),
        evaluation=EvaluationConfig(split="val"),
    )
    return build_model(config, 7, seed=3).eval()


def test_pictures_of_another_side_are_resized_behind_a_site_on_the_input_and_not_normalized_again() -> None:
    model, image = of_pictures(48, "input"), torch.randn(2, 3, 48, 48)
    published = model.pretrained_cfg["interpolation"]
    seen: dict[str, torch.Tensor] = {}
    model.canonicalizer.register_forward_pre_hook(lambda module, args: seen.update(canonicalizer=args[0]))
    model.backbone.register_forward_pre_hook(lambda module, args: seen.update(backbone=args[0]))
    with torch.no_grad():
        found = model(image, return_output=True)
        (phi,) = found.phis
        assert torch.equal(seen["canonicalizer"], image)  # and the warp is one of 48 pixels
        resized = F.interpolate(monotone_warp(image, phi), (32, 32), mode=published, antialias=True)
        torch.testing.assert_close(seen["backbone"], resized)
        torch.testing.assert_close(found.logits, model.backbone(resized))


def test_pictures_of_the_backbones_side_change_nothing() -> None:
    image = torch.randn(2, 3, 32, 32)
    for stage in ("image", "input"):
        plain, resizing = of_pictures(None, stage), of_pictures(32, stage)
        assert isinstance(plain.preprocess, nn.Identity) and isinstance(resizing.preprocess, Preprocess)
        assert list(plain.state_dict()) == list(resizing.state_dict())
        with torch.no_grad():
            assert torch.equal(plain(image), resizing(image))


def test_without_a_size_in_the_recipe_pictures_are_resized_to_the_backbones_own() -> None:
    model = of_pictures(48, image_size=None)
    assert model.preprocess.size == model.pretrained_cfg["input_size"][-1] == 160


@pytest.mark.parametrize("method", METHODS)
def test_every_method_tells_what_belongs_to_the_backbone(method: str) -> None:
    model = built(method, config_of())
    names = {name for name in model.state_dict() if model.is_of_backbone(name)}
    assert names == {f"backbone.{name}" for name in model.backbone.state_dict()}


@pytest.mark.parametrize("stage", ["imag", 99, "0"])
def test_a_stage_that_is_not_there_is_refused_with_those_that_are(stage: int | str) -> None:
    config = Config(model=config_of(), method=DEC(sites=(Site(stage=stage),), pools=(2,), input_size=16, **SMALL))
    with pytest.raises(ValueError, match=f"there is no stage {stage!r}; valid stages are 'image', 'input', 0 "):
        build_model(config, 7)


def test_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = built("base", config_of()).state_dict()
    state = torch.get_rng_state()
    torch.rand(1)
    other = built("base", config_of()).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    third = build_model(Config(model=config_of()), 7, seed=4).state_dict()
    assert any(not torch.equal(value, third[name]) for name, value in one.items())


def test_the_published_interpolation_is_taken_where_it_is_known() -> None:
    for name in ("test_vit", "test_resnet"):
        model = built("base", config_of(name))
        assert model.preprocess.interpolation == model.backbone.pretrained_cfg["interpolation"]


@pytest.mark.parametrize(
    ("name", "hint"), [("vit_tiny", "vit_tiny_patch16_224"), ("resnet5O.a1", "resnet50"), ("?", None)]
)
def test_an_unknown_backbone_is_refused_with_close_ones(name: str, hint: str | None) -> None:
    with pytest.raises(ConfigError, match=r"^model.backbone is '.*', which timm does not know") as error:
        build_backbone(config_of(name), 7)
    message = str(error.value)
    assert f"'{name}'" in message
    assert (hint or "close ones are ") in message if hint else "close ones" not in message


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_an_unknown_option_is_refused(backbone: str) -> None:
    with pytest.raises(ConfigError, match=rf"{backbone} does not take model.options {{'dept': 3}} \(.*dept"):
        build_backbone(config_of(backbone, options={"dept": 3}), 7)


def test_weights_that_cannot_be_had_are_told_with_two_ways_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else it tries for 20 seconds
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    began = time.perf_counter()
    with pytest.raises(
        ConfigError, match=r"^the published weights of test_vit\.r160_in1k could not be had \("
    ) as error:
        build_backbone(ModelConfig(backbone="test_vit.r160_in1k", image_size=None), 7)
    assert time.perf_counter() - began < 5
    message = str(error.value)
    assert "model.pretrained=false model.weights=FILE" in message and "\n" not in message


def saved(model: nn.Module, path: Path) -> Path:
    state = model.state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_weights_is_taken_but_for_a_head_of_another_size(tmp_path, suffix: str) -> None:
    source = timm.create_model("test_vit", num_classes=11, img_size=32)
    path = saved(source, tmp_path / f"weights{suffix}")
    for num_classes, has_head in ((7, False), (11, True)):
        backbone = build_backbone(config_of(weights=str(path)), num_classes)
        state = backbone.state_dict()
        expected = {name: value for name, value in source.state_dict().items() if has_head or name[:4] != "head"}
        assert len(expected) == len(state) - (0 if has_head else 2)
        assert all(torch.equal(value, state[name]) for name, value in expected.items())
        assert backbone.num_classes == num_classes


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", ["another", "lacks", "shape"])
def test_weights_of_another_backbone_are_refused(tmp_path, suffix: str, kind: str) -> None:
    if kind == "another":
        source = timm.create_model("test_resnet", num_classes=7)
    else:
        source = timm.create_model("test_vit", num_classes=7, img_size=32)
    if kind == "lacks":
        del source.norm
    elif kind == "shape":
        source.blocks[0].attn.proj = nn.Linear(3, 3)
    path = saved(source, tmp_path / f"weights{suffix}")
    with pytest.raises(ConfigError, match=r"does not fit the backbone: \d+ of its names or shapes differ"):
        build_backbone(config_of(weights=str(path)), 7)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "absent.pth", "list.pth", "folder.pth"])
def test_what_is_no_file_of_weights_is_refused(tmp_path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("a."):
        path.write_bytes(b"\x80\x04nothing that could be read")
    elif name == "list.pth":
        torch.save([torch.zeros(2)], path)
    elif name == "folder.pth":
        path.mkdir()
    with pytest.raises(ConfigError, match=name):
        read_weights(path)


def test_no_truncation_of_a_pth_file_escapes(tmp_path) -> None:
    for is_zipped in (True, False):
        path = tmp_path / "weights.pth"
        torch.save({"weight": torch.rand(4, 4), "bias": torch.rand(4)}, path, _use_new_zipfile_serialization=is_zipped)
        content = path.read_bytes()
        for length in range(0, len(content) - 40, 37):
            path.write_bytes(content[:length])
            with pytest.raises(ConfigError, match=r"weights.pth (is no file of weights, or a broken one|holds)"):
                read_weights(path)


def test_an_image_size_reaches_an_architecture_that_is_built_for_one() -> None:
    assert build_backbone(config_of(image_size=48), 7).patch_embed.img_size == (48, 48)
    assert build_backbone(config_of(image_size=48, options={"img_size": 64}), 7).patch_embed.img_size == (64, 64)
    default = timm.create_model("test_vit").patch_embed.img_size
    assert build_backbone(config_of(image_size=None), 7).patch_embed.img_size == default


@pytest.mark.parametrize("method", METHODS)
def test_networks_of_the_zoo_are_backbones(method: str) -> None:
    """A recipe names them like any other, and their number of channels is that of the data."""
    spec = METHODS[method]
    if not isinstance(spec, Plain):
        unnormalized = {"normalize": False} if isinstance(spec, DEC) else {}
        spec = replace(spec, channels=(1, *spec.channels[1:]), **unnormalized)
    config = Config(model=config_of("stir2_hermite", image_size=32), data=DigitsData(channels=1), method=spec)
    model = build_model(config, 10, seed=3).eval()
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)


def test_images_that_a_model_cannot_take_are_refused_and_it_is_left_as_it_was() -> None:
    model = timm.create_model("mnist3_standard", num_classes=10, in_chans=1)
    for is_training in (True, False):
        model.train(is_training)
        means = model.state_dict()["fc1.1.running_mean"].clone()
        check_fit(model, torch.rand(1, 28, 28))
        with pytest.raises(ConfigError, match=r"images of \(1, 56, 56\): .*expected 2 x 2.*model.image_size"):
            check_fit(model, torch.rand(1, 56, 56))
        assert model.training is is_training
        assert torch.equal(means, model.state_dict()["fc1.1.running_mean"])
