"""Models from recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_data_config
from timm.models import PretrainedCfg, load_model_config_from_hf
from timm.models._hub import load_model_config_from_path  # which timm does not export
from torch import Tensor, nn

import models.scale_zoo  # noqa: F401  (makes its networks known to timm)
from config.load import load_run
from config.schema import Config, ConfigError, ModelConfig, PictureData
from layers.seeds import seed_of
from layers.spec import DEC, Average, Candidates, Energy, Plain
from models.averaged import with_average
from models.baselines import with_candidates, with_energy
from models.dec import DECModel, with_dec
from models.dense import with_decoder
from models.preprocess import Preprocess
from models.trainable import freeze_but
from models.wrapped import BACKBONE, WrappedBackbone


def plainly(
    backbone: nn.Module, spec: Plain, *, image_size: int | None = None, preprocess: nn.Module | None = None
) -> WrappedBackbone:
    """The backbone as it is, under the names that it has in every model."""
    return WrappedBackbone(backbone, preprocess)


METHODS: dict[type, Callable[..., WrappedBackbone]] = {
    # Each is called with the bare backbone, its own options, the image_size and the preprocess.
    DEC: with_dec,
    Energy: with_energy,
    Candidates: with_candidates,
    Average: with_average,
    Plain: plainly,
}


def build_model(config: Config, num_classes: int, seed: int = 0) -> WrappedBackbone:
    """A recipe's model: a backbone after its preprocessing, with the method of the recipe.

    Whatever the method, the backbone's parameters have the same names (``backbone.`` and timm's) and the same first
    values, so that runs of different methods start alike, or from each other's weights. Images that the loader has
    normalized come at the backbone's size and need no preprocessing, except where ``data.side`` says otherwise.

    Args:
        config: the recipe.
        num_classes: of the head.
        seed: of the first weights; torch's global generator is left as it was.
    """
    size, channels, method = config.model.image_size, config.data.channels, config.method
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "model"))
        is_dense = config.data.kind == "dense"
        backbone = build_backbone(config.model, 0 if is_dense else num_classes, channels)
        if is_dense:
            backbone = with_decoder(backbone, num_classes, **vars(config.model.decoder))
        stages = {site.stage for site in method.sites if isinstance(site.stage, int)}
        freeze_but(backbone, config.train.finetune, stages, size)
        return METHODS[type(method)](backbone, method, image_size=size, preprocess=_preprocess(backbone, config))


def trained_model(folder: str | Path) -> WrappedBackbone:
    """The model of a finished run, with its weights, in evaluation mode.

    Args:
        folder: of the run, which holds its settings and its weights.
    """
    folder = Path(folder)
    _, config = load_run(folder / "config.yaml")
    weights = read_weights(folder / "model.safetensors")
    config = replace(config, model=replace(config.model, pretrained=False, weights=None)).resolved()
    is_dense = config.data.kind == "dense"
    classifier = "decoder.classifier" if is_dense else published_config(config.model.backbone).classifier
    classes = _head_size(weights, classifier, BACKBONE) or int(is_dense)  # none: they are of another model, see below
    model = build_model(config, classes)
    try:
        model.load_state_dict(model.under_todays_names(weights))
    except RuntimeError as error:
        raise ConfigError(f"the weights in {folder} do not fit its settings ({_first_line(error)})") from error
    if isinstance(model, DECModel):  # so that its save_pretrained can name them
        model.backbone_options = config.model.options
    return model.eval()


def build_backbone(model: ModelConfig, num_classes: int, image_channels: int = 3) -> nn.Module:
    """The timm model with fresh, published or given weights."""
    _check_known(model.backbone)
    options = {"num_classes": num_classes, "in_chans": image_channels, "pretrained": model.pretrained, **model.options}
    try:
        backbone = _created(model.backbone, options, model.image_size)
    except TypeError as error:
        raise ConfigError(
            f"{model.backbone} does not take model.options {model.options} ({_first_line(error)})"
        ) from error
    except (OSError, RuntimeError) as error:  # the hub's errors are OSErrors, or RuntimeErrors of several libraries
        if is_elsewhere(model.backbone):
            raise ConfigError(f"model.backbone {model.backbone} could not be had ({_first_line(error)})") from error
        if not model.pretrained:
            raise
        raise ConfigError(
            f"the published weights of {model.backbone} could not be had ({_first_line(error)}). Give a file with "
            "model.pretrained=false model.weights=FILE, or start from random weights with model.pretrained=false"
        ) from error
    if model.weights is not None:
        _load_weights(backbone, Path(model.weights))
    return backbone


def is_elsewhere(backbone: str) -> bool:
    """Whether a name is that of a model on the Hub, ``hf-hub:timm/NAME``, or in a folder, ``local-dir:FOLDER``."""
    return ":" in backbone


def published_config(backbone: str) -> Any:
    """What timm knows of a model's published weights, without building it."""
    _check_known(backbone)
    source, found, place = backbone.partition(":")
    if not found:
        return timm.get_pretrained_cfg(backbone)
    read = load_model_config_from_path if source == "local-dir" else load_model_config_from_hf
    return PretrainedCfg(**read(place)[0])


def input_description(config: ModelConfig, model: nn.Module) -> dict[str, Any]:
    """Size, statistics and cropping of a backbone's pictures, as ``timm.data.resolve_data_config`` gives them."""
    given = {"img_size": config.image_size} if config.image_size else {}
    return resolve_data_config(given, pretrained_cfg=_published(model))


def check_head(model: ModelConfig, num_classes: int) -> None:
    """Refuse to measure a model whose classifier would be a fresh one, since its weights have one of another size."""
    published = published_config(model.backbone)
    if model.weights is not None:
        found, source = _head_size(read_weights(Path(model.weights)), published.classifier), model.weights
    elif model.pretrained:
        found, source = published.num_classes, model.backbone
    else:
        return
    if found != num_classes:
        raise ConfigError(
            f"the classifier of {source} has {found or 'no'} classes; expected {num_classes}, as the data has. "
            "warm_start=FILE names the weights of a run"
        )


def check_fit(model: nn.Module, image: Tensor) -> None:
    """Refuse images (C, H, W) that the model cannot take, before it trains on them."""
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(image[None])
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the model cannot take images of {tuple(image.shape)}: {error}. model.image_size resizes them to the side "
            "that model.backbone is made for"
        ) from error
    finally:
        model.train(was_training)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict of a safetensors or pth file, without unpickling code."""
    if not path.is_file():
        raise ConfigError(f"there are no weights at {path}; expected a safetensors or pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken archive raises whatever its first wrong byte leads to
        raise ConfigError(f"{path} is no file of weights, or a broken one ({_first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{path} holds {type(state).__name__} and not a state dict: a mapping of names to tensors")
    return state


def _check_known(backbone: str) -> None:
    """Refuse a name that timm has no model of."""
    if not is_elsewhere(backbone) and not timm.is_model(backbone):
        name, known = backbone.split(".")[0], timm.list_models()
        close = [one for one in known if name and one.startswith(name)][:5] or get_close_matches(name, known, 5)
        hint = f"; close ones are {', '.join(close)}" if close else ""
        raise ConfigError(f"model.backbone is {backbone!r}, which timm does not know{hint}")


def _created(name: str, options: dict[str, Any], image_size: int | None) -> nn.Module:
    """The timm model, built for this size where its architecture is built for one."""
    if image_size is not None and "img_size" not in options:
        try:
            return timm.create_model(name, img_size=image_size, **options)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
    return timm.create_model(name, **options)


def _load_weights(backbone: nn.Module, path: Path) -> None:
    state = read_weights(path)
    own = backbone.state_dict()
    classifier = backbone.default_cfg.get("classifier") or ()  # type: ignore[union-attr, operator]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith(heads) or (name in own and own[name].shape == value.shape)
    }
    wrong = [name for name, value in kept.items() if name not in own or own[name].shape != value.shape]
    wrong += [name for name in own if name not in state]
    if wrong:
        raise ConfigError(
            f"{path} does not fit the backbone: {len(wrong)} of its names or shapes differ, {', '.join(wrong[:3])} for "
            "instance"
        )
    backbone.load_state_dict(kept, strict=False)


def _preprocess(backbone: nn.Module, config: Config) -> Preprocess | None:
    """What the loader leaves to the model: statistics too, or of pictures the resizing alone, if they need any."""
    model, data, published = config.model, config.data, _published(backbone)
    interpolation = published.get("interpolation")
    if interpolation not in ("bicubic", "bilinear"):
        interpolation = "bicubic"
    if isinstance(data, PictureData):
        if data.side is None:
            return None
        size = input_description(model, backbone)["input_size"][-1]
        return Preprocess(size, mean=(0.0,), std=(1.0,), interpolation=interpolation, limits=None)
    mean, std = published["mean"], published["std"]
    if data.channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    limits = None if data.standardize else (0.0, 1.0)
    return Preprocess(model.image_size, mean, std, resize=model.resize, interpolation=interpolation, limits=limits)


def _head_size(state: dict[str, Tensor], classifier: str | Sequence[str] | None, above: str = "") -> int | None:
    """Classes of the head in a state dict, by timm's name of it, or its names; None where there is none."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or ())
    return next((len(state[f"{above}{one}.weight"]) for one in names if f"{above}{one}.weight" in state), None)


def _published(backbone: nn.Module) -> Any:
    """timm's description of a backbone's weights and input."""
    return backbone.pretrained_cfg


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
