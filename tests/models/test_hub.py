"""A DEC model goes into a folder and comes back: the same answers, settings to be read, a card with its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf
from torch import nn

from config.dense import DenseDigitsData
from config.load import dump
from config.schema import Config, ConfigError, ModelConfig
from layers.spec import DEC, Correction, EarlyCorrection, Site, Solver
from models.build import build_backbone, build_model, check_head, trained_model
from models.dec import DECModel, with_dec
from models.dense import with_decoder
from models.preprocess import Preprocess

IMAGE = (Site("image", 5),)
QUICK: dict[str, Any] = {"channels": (3, 4, 6), "kernel_sizes": (3, 3), "pools": (2, 2), "input_size": 32}
CORRECTION = Correction(channels=(4, 4), pools=(2, 2), dilations=(1, 1))
RESIDUAL: dict[str, Any] = {"equilibrium": "residual", "correction": CORRECTION}
EARLY = EarlyCorrection(indices=(0,), width=4, channels=(4,), pools=(1,), dilations=(1,))
SPECS = {
    "published": DEC(sites=(Site("image", 4), Site(0, 3, restore=True)), **QUICK, solver=Solver(max_steps=3)),
    "feature": DEC(sites=(Site(1, 4),), condition="feature", **{**QUICK, "pools": (1, 1)}),
    "residual": DEC(sites=(Site("input", 5),), **RESIDUAL),
    "early": DEC(sites=IMAGE, equilibrium="residual", condition="early", early=EARLY),
}


def adapted(spec: DEC, backbone: str = "test_vit", **options: Any) -> DECModel:
    """A small DEC model whose weights are all random, the heads that begin at zero too."""
    torch.manual_seed(3)
    model = with_dec(timm.create_model(backbone, num_classes=5, **options), spec)
    for value in model.parameters():
        nn.init.normal_(value, std=0.1)
    return model.eval()


@pytest.mark.parametrize("name", SPECS)
def test_a_model_comes_back_with_its_answers_and_its_settings(tmp_path: Path, name: str) -> None:
    model, image = adapted(SPECS[name], img_size=64), torch.rand(2, 3, 64, 64)
    model.save_pretrained(tmp_path)
    found = DECModel.from_pretrained(tmp_path)
    assert found.spec == SPECS[name] and not found.training
    with torch.no_grad():
        first, second = model(image, return_output=True), found(image, return_output=True)
    assert torch.equal(first.logits, second.logits) and first.phis[0].x.std() > 0
    assert all(torch.equal(one.x, other.x) for one, other in zip(first.phis, second.phis, strict=True))


def test_channels_of_images_and_the_preprocessing_come_back(tmp_path: Path) -> None:
    preprocess = Preprocess(32, mean=(0.1,), std=(0.3,), resize=40, interpolation="bilinear", limits=None)
    backbone = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    model = with_dec(backbone, DEC(sites=IMAGE, **RESIDUAL), preprocess=preprocess).eval()
    model.save_pretrained(tmp_path)
    found, image = DECModel.from_pretrained(tmp_path), torch.rand(2, 1, 50, 50)
    assert torch.equal(found(image), model(image))
    assert found.preprocess.options() == preprocess.options()


def test_the_card_has_the_numbers_of_the_run(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.91234, "top1_at_0.7": 0.5}
    summary = {"metrics": metrics, "recipe": "some", "seed": 7, "command": "python train_mnist.py --config some"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    adapted(SPECS["residual"]).save_pretrained(tmp_path / "out", model_card_kwargs={"run": tmp_path})
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith("---\n") and "| accuracy | 0.9123 |" in text and "top1_at" not in text
    assert "recipe some, seed 7" in text and "python train_mnist.py --config some" in text and "input (5 x 5" in text
    with pytest.raises(ValueError, match=r"there is no .*expected the folder of a finished run"):
        adapted(SPECS["residual"]).save_pretrained(tmp_path / "other", model_card_kwargs={"run": tmp_path / "out"})


def test_what_is_pushed_is_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub itself is not asked: of its client, what would be sent is kept."""
    sent: dict[str, Any] = {}

    class Client:
        def __init__(self, **_: Any):
            pass

        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **_: Any) -> str:
            sent.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()}, repo_id=repo_id)
            return "commit"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Client)
    model = adapted(SPECS["residual"])
    model.save_pretrained(tmp_path)
    assert model.push_to_hub("someone/some-model") == "commit" and sent.pop("repo_id") == "someone/some-model"
    assert sent == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made["dec"].update(strenght=0.5), "dec.strenght: unknown key"),
        (lambda made: made["dec"].update(strength="much"), "dec.strength is 'much'; expected a finite number"),
        (lambda made: made.pop("backbone"), "is not what save_pretrained writes"),
        (lambda made: made["backbone_options"].update(num_classes=6), "does not fit the model of its config"),
    ],
)
def test_a_description_that_is_wrong_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    adapted(SPECS["published"]).save_pretrained(tmp_path)
    made = json.loads((tmp_path / "config.json").read_text())
    change(made)
    (tmp_path / "config.json").write_text(json.dumps(made))
    with pytest.raises(ValueError, match=message):
        DECModel.from_pretrained(tmp_path)


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json; expected a folder that save_pretrained wrote"):
        DECModel.from_pretrained(tmp_path)


def test_what_a_file_cannot_name_is_refused(tmp_path: Path) -> None:
    model = adapted(SPECS["residual"])
    model.preprocess = nn.Upsample(scale_factor=2)
    with pytest.raises(ValueError, match="preprocess is Upsample; expected none, or a models"):
        model.save_pretrained(tmp_path)
    model.preprocess, model.backbone.pretrained_cfg = nn.Identity(), None
    with pytest.raises(ValueError, match="VisionTransformer does not tell its name"):
        model.save_pretrained(tmp_path)


def test_the_model_of_a_run_has_its_weights(tmp_path: Path) -> None:
    config = Config(
        model=ModelConfig(backbone="test_resnet", pretrained=False, image_size=32), method=SPECS["residual"]
    )
    model = build_model(config, 7, seed=5).eval()
    (tmp_path / "config.yaml").write_text(dump("mine", config))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    found, image = trained_model(tmp_path), torch.rand(2, 3, 40, 40)
    assert torch.equal(found(image), model(image)) and not found.training
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="there are no weights at"):
        trained_model(tmp_path)


def test_a_backbone_may_lie_in_a_folder(tmp_path: Path) -> None:
    """As timm itself writes it; a model of the Hub, hf-hub:NAME, goes the same way."""
    network = timm.create_model("test_resnet", num_classes=7)
    save_for_hf(network, tmp_path, safe_serialization=True)
    name = f"local-dir:{tmp_path}"
    found = build_backbone(ModelConfig(backbone=name), 7)
    weights = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, weights[key]) for key, value in found.state_dict().items())
    check_head(ModelConfig(backbone=name), 7)
    with pytest.raises(ConfigError, match="has 7 classes; expected 5"):
        check_head(ModelConfig(backbone=name), 5)
    with pytest.raises(ConfigError, match=r"model\.backbone local-dir:/nowhere could not be had"):
        build_backbone(ModelConfig(backbone="local-dir:/nowhere"), 7)


def test_a_model_of_the_zoo_comes_back_too(tmp_path: Path) -> None:
    """Its layers are no ordinary convolutions, so that the images' channels cannot be read off them."""
    model = with_dec(timm.create_model("stir2_hermite", num_classes=4), DEC(sites=IMAGE, **RESIDUAL)).eval()
    model.save_pretrained(tmp_path)
    image = torch.rand(2, model.image_channels, 64, 64)
    assert torch.equal(DECModel.from_pretrained(tmp_path)(image), model(image))


@pytest.mark.parametrize(
    ("backbone", "options"),
    [("test_vit", {"act_layer": "relu"}), ("test_resnet", {"output_stride": 16}), ("test_vit", {"depth": 2})],
    ids=["activation", "stride", "depth"],
)
def test_options_that_a_backbone_does_not_tell_have_to_be_named(
    tmp_path: Path, backbone: str, options: dict[str, Any]
) -> None:
    model = adapted(SPECS["residual"], backbone, **options).train()
    modes = [part.training for part in model.modules()]
    with pytest.raises(ValueError, match=r"another one would come back; expected model\.backbone_options = "):
        model.save_pretrained(tmp_path)
    assert [part.training for part in model.modules()] == modes and not list(tmp_path.glob("*.safetensors"))
    model.backbone_options = options
    model.save_pretrained(tmp_path)
    found, image = DECModel.from_pretrained(tmp_path), torch.rand(2, 3, *model.sites[0].image_size)
    assert torch.equal(found(image), model.eval()(image)) and found.backbone_options.items() >= options.items()


def test_a_run_knows_the_options_of_its_backbone(tmp_path: Path) -> None:
    network = ModelConfig(
        backbone="test_vit", pretrained=False, image_size=32, options={"act_layer": "relu", "img_size": 32}
    )
    config = Config(model=network, method=SPECS["residual"])
    model = build_model(config, 5).eval()
    (tmp_path / "config.yaml").write_text(dump("mine", config))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    trained_model(tmp_path).save_pretrained(tmp_path / "kept")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(DECModel.from_pretrained(tmp_path / "kept")(image), model(image))


def test_a_segmenter_is_refused_by_its_name(tmp_path: Path) -> None:
    segmenter = with_decoder(timm.create_model("test_resnet"), 3)
    with pytest.raises(ValueError, match="the backbone is a Segmenter, which no file can name"):
        with_dec(segmenter, DEC(sites=IMAGE, **RESIDUAL)).save_pretrained(tmp_path)


def test_the_model_of_a_run_with_labels_per_pixel_has_its_weights(tmp_path: Path) -> None:
    network = ModelConfig(backbone="test_resnet", pretrained=False, image_size=None)
    config = Config(data=DenseDigitsData(), model=network)
    model = build_model(config, 11, seed=5).eval()
    (tmp_path / "config.yaml").write_text(dump("mine", config))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(trained_model(tmp_path)(image), model(image))
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=f"the weights in {tmp_path} do not fit its settings"):
        trained_model(tmp_path)
