"""The entry point of torch.hub: what it builds, which weights it takes, and that real ones still know their classes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

from layers.grid import WarpParams
from models.dec import DECModel, Site

ROOT = Path(__file__).parents[1]
DATA = os.environ.get("LSE_DATA")
TINY = {"img_size": 48, "num_classes": 10}
QUICK = {"channels": (3, 4, 6), "kernel_sizes": (3, 3), "pools": (2, 2), "input_size": 32}

needs_data = pytest.mark.skipif(DATA is None, reason="LSE_DATA names no folder with real weights and photographs")


def load(**options) -> DECModel:
    torch.manual_seed(0)
    return torch.hub.load(str(ROOT), "dec", source="local", **options)


def tiny(**options) -> DECModel:
    return load(**{"backbone": "test_vit", "backbone_options": TINY, **QUICK, **options})


def sites_and_sizes(model: DECModel) -> list[tuple[str, int]]:
    names = [site.name for site in model.sites]
    return list(zip(names, [update.grid_size for update in model.canonicalizer.module_list], strict=True))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (None, [("image", 4), ("blocks.0", 4)]),
        ("dem_swin", [("image", 6), ("blocks.0", 4)]),
        ("dem_vit", [("image", 4), ("blocks.0", 4)]),
        ("dem_deit", [("image", 10), ("blocks.0", 4)]),
        ("dem_beit", [("blocks.0", 10), ("blocks.1", 4)]),
        ("dem1_beit", [("blocks.0", 4), ("blocks.1", 4)]),
    ],
)
def test_a_recipe_puts_its_sites(recipe, expected):
    assert sites_and_sizes(tiny(recipe=recipe)) == expected


def test_what_is_built_is_the_published_network_and_runs():
    model = load(backbone="test_vit", recipe="dem_vit", backbone_options=TINY)
    assert isinstance(model, DECModel)
    for update in model.canonicalizer.module_list:
        blocks = list(update)[:-2]
        assert [block.conv1.weight.shape for block in blocks] == [(64, 3, 5, 5), (128, 64, 3, 3)]
        assert [block.pool for block in blocks] == [4, 2]
    assert model.canonicalizer.input_size == (224, 224) and model.canonicalizer.is_normalized
    assert model.eval()(torch.rand(1, 3, 48, 48)).shape == (1, 10)


def test_options_win_over_the_recipe():
    model = tiny(recipe="dem_swin", sites=[Site(2, 3)], condition="feature", pools=(1, 1))
    assert sites_and_sizes(model) == [("blocks.2", 3)]
    assert model.canonicalizer.condition == "feature"


def test_it_is_found_from_any_folder(tmp_path):
    code = f"""
import torch
model = torch.hub.load({str(ROOT)!r}, "dec", source="local", backbone="test_vit")
assert [site.name for site in model.sites] == ["image", "blocks.0"]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@torch.no_grad()
def test_weights_of_a_file_are_those_of_the_backbone(suffix, tmp_path):
    torch.manual_seed(1)
    plain = timm.create_model("test_vit", pretrained=False, **TINY).eval()
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(plain.state_dict(), path)
    else:
        save_file(plain.state_dict(), path)
    for given in (path, str(path)):
        model = tiny(pretrained=given).eval()
        torch.testing.assert_close(model.backbone.state_dict(), plain.state_dict(), rtol=0, atol=0)
    identity = [WarpParams.identity(2, 4)] * 2
    image = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(model.predict(image, identity), plain(image), rtol=1e-5, atol=1e-5)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    known = "light, or one of dem_swin, dem_vit, dem_deit, dem_beit"
    with pytest.raises(ValueError, match=f"recipe is 'dem_vitt'; expected {known}"):
        tiny(recipe="dem_vitt")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there are no weights at .*nowhere.pth; expected a safetensors or pth file"):
        tiny(pretrained=tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("cls_token"), r"Missing key\(s\) in state_dict: \"cls_token\""),
        (lambda state: state.update(extra=torch.zeros(1)), r"Unexpected key\(s\) in state_dict: \"extra\""),
        (lambda state: state.update({"head.bias": torch.zeros(7)}), r"size mismatch for head.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message, tmp_path):
    state = timm.create_model("test_vit", pretrained=False, **TINY).state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(RuntimeError, match=message):
        tiny(pretrained=tmp_path / "weights.pth")


def test_a_file_that_holds_code_is_not_run(tmp_path):
    torch.save(timm.create_model("test_vit", pretrained=False, **TINY), tmp_path / "model.pth")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        tiny(pretrained=tmp_path / "model.pth")


@needs_data
@torch.no_grad()
def test_real_weights_know_real_photographs_as_the_plain_network_does():
    folder = Path(DATA)
    weights = folder / "weights" / "deit_tiny_patch16_224.safetensors"
    model = load(recipe="dem_deit", pretrained=weights).eval()
    plain = timm.create_model("deit_tiny_patch16_224", checkpoint_path=str(weights)).eval()
    synsets = (folder / "data" / "imagenet_synsets.txt").read_text("utf-8").split()
    photographs = sorted((folder / "data" / "imagenet_photos").glob("*/*.jpg"))[::31][:32]
    labels = torch.tensor([synsets.index(path.parent.name) for path in photographs])
    transform = create_transform(**resolve_data_config({}, model=model), is_training=False)
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in photographs])
    identity = [WarpParams.identity(len(batch), R) for R in (10, 4)]
    logits = model.predict(batch, identity)
    torch.testing.assert_close(logits, plain(batch), rtol=1e-4, atol=1e-4)
    assert len(labels) == 32 and len(labels.unique()) > 20
    assert (logits.argmax(1) == labels).float().mean() > 0.75  # 29 of 32


def test_a_segmenter_is_built_plain_and_with_dec():
    options = {"backbone": "test_vit", "num_classes": 3, "backbone_options": {"img_size": 48}, "source": "local"}
    image = torch.rand(1, 3, 48, 48)
    plain = torch.hub.load(str(ROOT), "segmenter", decoder={"name": "fusion", "width": 8}, **options).eval()
    assert plain(image).shape == (1, 3, 48, 48) and not isinstance(plain, DECModel)
    site = Site("image", 4, restore=True, restore_at="output")
    model = torch.hub.load(str(ROOT), "segmenter", sites=[site], **QUICK, **options).eval()
    assert isinstance(model, DECModel) and model(image).shape == (1, 3, 48, 48)
    named = torch.hub.load(str(ROOT), "segmenter", recipe="dem_vit", **QUICK, **options)
    assert sites_and_sizes(named) == [("image", 4), ("backbone.blocks.0", 4)]
    with pytest.raises(ValueError, match="options are strength without a recipe; expected sites among them"):
        torch.hub.load(str(ROOT), "segmenter", strength=0.5, **options)
