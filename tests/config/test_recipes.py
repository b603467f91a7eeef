"""config_1.yaml against the published settings, which stand here once more, row by row."""

import subprocess
import sys
from dataclasses import replace
from typing import NamedTuple

import pytest

from config.load import FOLDER, load_recipes, recipe_names
from config.losses import EquivarianceTerm, PhiTerm, UniquenessTerm
from config.schema import (
    Config,
    DigitsData,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    Phase,
    ScheduleConfig,
    TrainConfig,
    WandbConfig,
    WarpConfig,
)
from layers.spec import DEC, Candidates, Site, Solver

NAMES = recipe_names("config_1.yaml")
LOADED = {name: load_recipes("config_1.yaml", name) for name in NAMES}
SWIN, RESNET = "swin_tiny_patch4_window7_224.ms_in1k", "resnet50.a1_in1k"
VIT, DEIT = "vit_base_patch16_224.orig_in21k", "deit_base_distilled_patch16_224.fb_in1k"
BEIT, DINO = "beit_base_patch16_224.in22k_ft_in22k_in1k", "vit_base_patch14_dinov2.lvd142m"
PREFIX = {SWIN: "swin", RESNET: "res_net", VIT: "vit", DEIT: "deit", BEIT: "beit", DINO: "dino"}
CROPPED = {RESNET, DINO}  # their processors resize to 256 and cut 224 from the centre
RESTORING = {VIT, DEIT, BEIT}  # their wrappers undo warps behind the block


class Baseline(NamedTuple):
    backbone: str
    lr: float
    epochs: int
    augments: bool = False
    method: str = ""  # "equiv" or "canon"; both start from the augmentation checkpoint


class DEM(NamedTuple):
    backbone: str
    lr: float
    canonicalizer_lr: float
    epochs: int
    interval: int
    num_sites: int
    has_weights: bool  # the entries whose name has no _1 use the further losses, but for Swin and BEiT


BASELINES = {
    "swin_transformer": Baseline(SWIN, 1e-5, 20),
    "ada_swin_scratch": Baseline(SWIN, 1e-5, 20),
    "res_net": Baseline(RESNET, 1e-4, 20),
    "vit": Baseline(VIT, 1e-4, 20),
    "beit": Baseline(BEIT, 1e-4, 20),
    "deit": Baseline(DEIT, 1e-4, 20),
    "dino": Baseline(DINO, 1e-4, 20),
    "swin_data_augmentation": Baseline(SWIN, 8e-5, 50, True),
    "res_net_data_augmentation": Baseline(RESNET, 1e-4, 50, True),
    "vit_data_augmentation": Baseline(VIT, 1e-4, 50, True),
    "beit_data_augmentation": Baseline(BEIT, 6e-5, 50, True),
    "deit_data_augmentation": Baseline(DEIT, 1e-4, 50, True),
    "dino_data_augmentation": Baseline(DINO, 1e-5, 50, True),
    "swin_equiv": Baseline(SWIN, 1e-5, 40, True, "equiv"),
    "res_net_equiv": Baseline(RESNET, 1e-5, 40, True, "equiv"),
    "vit_equiv": Baseline(VIT, 1e-5, 40, False, "equiv"),
    "beit_equiv": Baseline(BEIT, 1e-5, 40, False, "equiv"),
    "deit_equiv": Baseline(DEIT, 1e-5, 40, False, "equiv"),
    "dino_equiv": Baseline(DINO, 1e-5, 40, False, "equiv"),
    "swin_cannonicalizion": Baseline(SWIN, 1e-5, 40, True, "canon"),
    "res_net_cannonicalization": Baseline(RESNET, 1e-5, 40, False, "canon"),
    "vit_cannonicalization": Baseline(VIT, 1e-5, 40, False, "canon"),
    "beit_cannonicalization": Baseline(BEIT, 1e-5, 40, False, "canon"),
    "deit_cannonicalization": Baseline(DEIT, 1e-5, 40, False, "canon"),
    "dino_cannonicalization": Baseline(DINO, 1e-5, 40, False, "canon"),
}
DEMS = {
    "ada_swin_dem": DEM(SWIN, 2e-5, 0.01, 40, 10, 2, False),
    "ada_res_net_dem": DEM(RESNET, 2e-6, 0.001, 40, 3, 2, True),
    "ada_res_net_dem_1": DEM(RESNET, 2e-5, 0.001, 40, 3, 2, False),
    "ada_vit_dem": DEM(VIT, 2e-6, 0.001, 20, 3, 2, True),
    "ada_vit_dem_1": DEM(VIT, 3e-5, 0.003, 40, 0, 3, False),
    "ada_beit_dem": DEM(BEIT, 1e-5, 3e-4, 40, 3, 2, False),
    "ada_deit_dem": DEM(DEIT, 2e-6, 0.001, 20, 3, 2, True),
    "ada_deit_dem_1": DEM(DEIT, 1e-5, 0.02, 40, 3, 2, False),
    "ada_dino_dem": DEM(DINO, 2e-6, 0.001, 20, 3, 3, True),
    "ada_dino_dem_1": DEM(DINO, 1e-6, 0.001, 40, 5, 3, False),
}
PUBLISHED = ["base_config", *BASELINES, *DEMS]


def base() -> Config:
    """All values that the published file gives its base, written out."""
    return Config(
        data=DigitsData(
            name="mnist",
            n_digits=3,
            scales=((0.4, 2.0),) * 3,
            test_scales=((0.4, 2.0),) * 3,
            cell_size=70,
            layout="all",
            channels=3,
            standardize=True,
            train_items=6000,
            fresh_scales=False,
            workers=2,
        ),
        model=ModelConfig(backbone=RESNET, pretrained=True, image_size=224),
        warp=WarpConfig(grid_size=8, strength=0.25, probability=0.0),
        loss=LossConfig(
            two_views=False,
            equivariance=EquivarianceTerm(weight=0.0, distance="kl"),
            phi=PhiTerm(weight=0.1),
            uniqueness=UniquenessTerm(weight=0.1),
        ),
        train=TrainConfig(
            epochs=60,
            batch_size=64,
            backbone_lr=0.001,
            canonicalizer_lr=None,
            weight_decay=0.01,
            canonicalizer_weight_decay=0.01,
            backbone_clip=5.0,
            canonicalizer_clip=0.5,
            schedule=ScheduleConfig(name="step", step_size=2, factor=0.7),
        ),
        evaluation=EvaluationConfig(
            split="test", items=None, every=20, full_every=40, local_scale_items=64, local_scale_draws=8
        ),
        wandb=WandbConfig(mode="disabled", project="scale_mnist"),
        warm_start=None,
        output_dir="weights",
    )


def entry(backbone: str, lr: float, epochs: int, augments: bool) -> Config:
    """What all published entries but the base share."""
    config = base()
    schedule = ScheduleConfig(name="plateau", patience=2, factor=0.5)
    return replace(
        config,
        data=replace(config.data, standardize=False),
        model=replace(config.model, backbone=backbone, resize=256 if backbone in CROPPED else None),
        warp=replace(config.warp, probability=0.5 if augments else 0.0),
        train=replace(config.train, epochs=epochs, backbone_lr=lr, schedule=schedule),
    )


def tuned(config: Config) -> Config:
    """The same from the augmentation checkpoint, evaluated before training."""
    start = f"{PREFIX[config.model.backbone]}_data_augmentation"
    return replace(config, warm_start=start, evaluation=replace(config.evaluation, before_training=True))


def baseline(name: str, row: Baseline) -> Config:
    config = entry(row.backbone, row.lr, row.epochs, row.augments)
    if name == "ada_swin_scratch":
        config = replace(config, model=replace(config.model, pretrained=False))
    if row.method == "equiv":
        config = tuned(replace(config, loss=LossConfig(equivariance=EquivarianceTerm(weight=0.001))))
    if row.method == "canon":
        scorer = Candidates(values=(1.0, 0.5), limit=8, channels=(3, 4, 1), kernel_sizes=(3, 3))
        config = tuned(replace(config, method=scorer))
    return config


def dem(row: DEM) -> Config:
    config = tuned(entry(row.backbone, row.lr, row.epochs, True))
    is_large = row.backbone == BEIT
    sites = [Site(stage=k, grid_size=4, restore=row.backbone in RESTORING) for k in range(row.num_sites)]
    canonicalizer = DEC(
        sites=tuple(sites),
        channels=(3, 32, 64, 128, 128) if is_large else (3, 32, 64),
        kernel_sizes=(3, 3, 3, 3) if is_large else (3, 3),
        pools=(2, 2, 2, 1) if is_large else (2, 2),
        solver=Solver(name="anderson", max_steps=5, tol=1e-6, gradient="one_step"),
        input_size=224,
        normalize=True,
        condition="image",
        strength=1.0,
    )
    loss = LossConfig(two_views=True, phi=PhiTerm(weight=0.1, difference_max=3.0))
    alone: dict[str, float] = {}  # the cross-entropy has its weight of 1, the equivariance its weight of 0
    if row.has_weights:
        loss = replace(
            loss,
            equivariance=EquivarianceTerm(weight=0.1),
            phi=PhiTerm(weight=0.1, difference=0.1, difference_increment=0.0, difference_max=0.2, prior=0.1),
        )
        alone = {"task": 0.1, "equivariance": 1.0}
    train = replace(
        config.train,
        phases=(Phase(trains=("canonicalizer",), epochs=row.interval + 1, terms=alone), Phase()),
        canonicalizer_lr=row.canonicalizer_lr,
        backbone_clip=1.0,
        canonicalizer_clip=0.5,
    )
    return replace(config, method=canonicalizer, loss=loss, train=train)


def loaded(name: str) -> Config:
    ((_, config),) = LOADED[name]
    return config


def test_all_published_names_are_there() -> None:
    assert len(PUBLISHED) == 36
    assert NAMES[:36] == PUBLISHED


def test_the_base_holds_the_published_values() -> None:
    assert loaded("base_config") == base()


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_holds_the_published_values(name: str) -> None:
    assert loaded(name) == baseline(name, BASELINES[name])


@pytest.mark.parametrize("name", DEMS)
def test_a_dec_recipe_holds_the_published_values(name: str) -> None:
    assert loaded(name) == dem(DEMS[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_starts_from_one_of_its_backbone(name: str) -> None:
    for _, config in LOADED[name]:
        if config.warm_start is not None:
            start = loaded(config.warm_start)
            assert (start.model.backbone, start.data.n_digits) == (config.model.backbone, config.data.n_digits)
            assert start.warm_start is None or loaded(start.warm_start).warm_start is None


@pytest.mark.parametrize("suite", ["quickstart", "small", "unseen", "few", "frozen"])
def test_a_suite_runs_what_its_members_start_from_first(suite: str) -> None:
    done: list[str] = []
    for name, config in LOADED[suite]:
        assert name.startswith((f"{suite}_", "small_base")) and not config.model.pretrained
        assert config.warm_start is None or config.warm_start in done
        done.append(name)
    own = [name for name in done if name.startswith(f"{suite}_")]
    assert own == [name for name in NAMES if name.startswith(f"{suite}_")]


def test_recipes_of_segmentation_on_pictures_are_about_pictures() -> None:
    names = recipe_names(FOLDER / "dense/pictures.yaml")
    for name in names:
        ((_, config),) = load_recipes("dense/pictures.yaml", name, kind="dense")
        assert config.data.name == ("dense/voc" if name.startswith("voc_") else "dense/coco")


def test_the_name_of_a_section_is_taken_before_its_other_keys() -> None:
    words = ["method.sites=[{stage: 0}]", "method.name=dec"]
    ((_, config),) = load_recipes("mnist/quickstart.yaml", "quickstart_base", words, kind="digits")
    assert isinstance(config.method, DEC) and config.method.sites == (Site(0),)


def test_backbones_are_known_to_timm() -> None:
    timm = pytest.importorskip("timm")
    names = {config.model.backbone for name in NAMES for _, config in LOADED[name]}
    assert {SWIN, RESNET, VIT, DEIT, BEIT, DINO} <= names
    for name in names:
        tag = name.partition(".")[2]
        assert timm.is_model(name) and (not tag or timm.models.get_pretrained_cfg(name).tag == tag)


def test_the_folder_imports_no_torch_and_of_the_project_the_options_of_a_dec_alone() -> None:
    code = (
        "import sys, config.load; "
        "sys.exit(bool({'torch', 'timm', 'numpy', 'models', 'train', 'dataloader'} & set(sys.modules))"
        " or {name for name in sys.modules if name.startswith('layers')} != {'layers', 'layers.spec'})"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, check=False).returncode == 0
