"""A DEC model in a folder or on the Hugging Face Hub: what it is made of, its weights, and a card.

``DECModel`` has huggingface_hub's ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``; what they need to know
of a DEC model stands here. The files are ``config.json``, ``model.safetensors`` and ``README.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelCard, ModelCardData, hf_hub_download
from safetensors.torch import load_file, save_file
from torch import nn

from config.convert import Place, build, partial, plain
from layers.spec import DEC
from models.preprocess import Preprocess
from models.wrapped import WrappedBackbone

CONFIG, WEIGHTS, SUMMARY = "config.json", "model.safetensors", "summary.json"
LIBRARY = "local-scale-equivariance"
SAME = 1e-3  # of the answers' spread, by which a model that comes back may differ
OTHER_BACKBONE = (
    "the backbone was made by options of timm.create_model that it does not tell, so that another one would come back; "
    "expected model.backbone_options = {...} with them"
)


class Made(NamedTuple):
    """What a DEC model is made of, apart from its weights.

    Args:
        backbone: name of the timm model.
        backbone_options: of ``timm.create_model``.
        dec: its options.
        preprocess: arguments of a ``Preprocess``; None where images go to the backbone as they come.
    """

    backbone: str
    backbone_options: dict[str, Any]
    dec: DEC
    preprocess: dict[str, Any] | None

    def new_backbone(self, **options: Any) -> nn.Module:
        """With random weights."""
        import timm  # takes longer than all the rest, and whoever has a backbone has imported it already

        return timm.create_model(self.backbone, **{**self.backbone_options, **options})

    def new_preprocess(self) -> Preprocess | None:
        """As the model had it."""
        return None if self.preprocess is None else Preprocess(**self.preprocess)


def made_of(backbone: Any, dec: DEC, preprocess: nn.Module, channels: int) -> Made:
    """What a model is made of, of images with so many channels; refused where a file could not say it."""
    if isinstance(backbone, WrappedBackbone):
        raise ValueError(f"the backbone is a {type(backbone).__name__}, which no file can name; expected a timm model")
    known: Any = getattr(backbone, "pretrained_cfg", None)
    if not known or not known.get("architecture"):
        raise ValueError(
            f"the backbone {type(backbone).__name__} does not tell its name; expected one of timm.create_model, for a "
            "file has to name it. torch.save(model.state_dict()) keeps the weights of any model"
        )
    if not isinstance(preprocess, nn.Identity | Preprocess):
        raise ValueError(f"preprocess is {type(preprocess).__name__}; expected none, or a models.preprocess.Preprocess")
    side = getattr(getattr(backbone, "patch_embed", None), "img_size", None)
    options = {"num_classes": backbone.num_classes, "in_chans": channels}
    return Made(
        backbone=known["architecture"],
        backbone_options=options | ({} if side is None else {"img_size": list(side)}),
        dec=dec,
        preprocess=preprocess.options() if isinstance(preprocess, Preprocess) else None,
    )


def check_same(model: nn.Module, make_again: Callable[[], nn.Module], size: Sequence[int]) -> None:
    """Refuse a model that would come back as another one: timm models do not tell the options that they were made by.

    Options that change a shape are found by the weights, and others, like an activation, by what is said of an image.

    Args:
        model: that is to be kept.
        make_again: makes it from what its file would say, with random weights.
        size: of an image, (C, H, W).
    """
    weight = next(model.parameters())
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(0)).to(weight)
    again, training = make_again().to(weight.device).eval(), [part for part in model.modules() if part.training]
    try:
        again.load_state_dict(model.state_dict(), assign=True)
        with torch.no_grad():
            expected, found = model.eval()(image).float(), again(image).float()
    except RuntimeError as error:
        raise ValueError(f"{OTHER_BACKBONE} ({str(error).splitlines()[-1].strip()})") from error
    finally:
        for part in training:
            part.training = True
    spread = (expected.max() - expected.min()).clamp_min(1e-12)
    if (difference := ((expected - found).abs().max() / spread).item()) > SAME:
        raise ValueError(f"{OTHER_BACKBONE} (answers differ by {difference:.2g} of their spread)")


def write(folder: Path, made: Made, model: nn.Module) -> None:
    """The two files that a model is made again from."""
    text = json.dumps({**made._asdict(), "dec": plain(made.dec)}, indent=2)
    (folder / CONFIG).write_text(f"{text}\n", "utf-8")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)


def fetch(model_id: str, name: str, options: Mapping[str, Any]) -> Path:
    """A file of a folder, or of a repository on the Hub, with options of ``hf_hub_download``."""
    folder = Path(model_id)
    if not folder.is_dir():
        return Path(hf_hub_download(model_id, name, **options))
    if not (folder / name).is_file():
        raise ValueError(f"{folder} has no {name}; expected a folder that save_pretrained wrote")
    return folder / name


def read(path: Path) -> Made:
    """What ``config.json`` says; unknown options of a DEC, and values of a wrong kind, are refused by name."""
    try:
        known = json.loads(path.read_text("utf-8"))
        made, at = Made(**known), Place(str(path), "dec")
        given = {name: value for name, value in known["dec"].items() if name != "name"}
        return made._replace(dec=build(DEC, partial(DEC, given, at), at))
    except (AttributeError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not what save_pretrained writes for a DEC model ({error})") from error


def card(made: Made, run: str | Path | None) -> ModelCard:
    """How to load the model, what it is made of, and the numbers of the run that trained it.

    Args:
        made: of the model.
        run: folder of the run, whose ``summary.json`` has the numbers; None leaves them out.
    """
    data = ModelCardData(library_name=LIBRARY, tags=["image-classification", "local-scale-equivariance", "timm"])
    sites = ", ".join(f"{site.stage} ({site.grid_size} x {site.grid_size} knots)" for site in made.dec.sites)
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# {made.backbone} with a Deep Equilibrium Canonicalizer",
        f"The {made.dec.equilibrium} equilibrium, at {sites}. All settings are in `{CONFIG}`.",
        "```python\nfrom models.dec import DECModel  # of a checkout of local-scale-equivariance\n\n"
        'model = DECModel.from_pretrained("<this repository, or a folder>")\n```',
        *([] if run is None else _numbers(Path(run) / SUMMARY)),
    ]
    return ModelCard("\n\n".join(lines) + "\n")


def _numbers(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"there is no {path}; expected the folder of a finished run")
    summary = json.loads(path.read_text("utf-8"))
    rows = [f"| {name} | {value:.4g} |" for name, value in summary["metrics"].items() if "_at_" not in name]
    known = {name: summary[name] for name in ("recipe", "seed", "commit", "hardware") if name in summary}
    origin = ", ".join(f"{name} {value}" for name, value in known.items())
    return [
        "## Numbers of its run",
        f"One run alone: {origin}. Shares are from 0 to 1.",
        "\n".join(["| metric | value |", "| --- | ---: |", *rows]),
        f"```bash\n{summary['command']}\n```" if "command" in summary else "",
    ]


def load_weights(model: nn.Module, path: Path) -> None:
    """Those of a file, which has to fit."""
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not fit the model of its config; where the backbone was created with further options, name "
            f"them: from_pretrained(..., backbone_options={{...}}) ({str(error).splitlines()[-1].strip()})"
        ) from error
