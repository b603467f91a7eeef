"""adapter_config.yaml against the published settings, which stand here once more, row by row."""

import re
from dataclasses import replace
from typing import NamedTuple

import pytest

from config.load import dump, load_recipes, recipe_names
from config.losses import EquivarianceTerm, PhiTerm
from config.schema import (
    AugmentationConfig,
    Config,
    ConfigError,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    Phase,
    PictureData,
    ScheduleConfig,
    TrainConfig,
    WandbConfig,
    WarpConfig,
)
from layers.spec import DEC, Candidates, Plain, Site, Solver

FILE = "adapter_config.yaml"
NAMES = recipe_names(FILE)
LOADED = {name: load_recipes(FILE, name, kind="pictures") for name in NAMES}
SWIN, VIT = "swin_tiny_patch4_window7_224.ms_in1k", "vit_little_patch16_reg4_gap_256.sbb_in1k"
DEIT, BEIT = "deit_tiny_patch16_224.fb_in1k", "beitv2_base_patch16_224.in1k_ft_in22k_in1k"
RESNET, DINO = "resnet50.a1_in1k", "vit_small_patch14_reg4_dinov2.lvd142m"
BACKBONES = {"swin": SWIN, "vit": VIT, "deit": DEIT, "beit": BEIT, "resnet": RESNET, "dinov2": DINO}
PUBLISHED_MODELS = ("swin", "vit", "deit", "beit")


class Baseline(NamedTuple):
    lr: float
    augments: bool = False
    equivariance: bool = False
    canonicalizes: bool = False


BASELINES = {
    "base": Baseline(1e-7),
    "aug": Baseline(1e-7, True),
    "equiv": Baseline(1e-7, True, True),
    "cannon": Baseline(2e-6, True, False, True),
}
DEMS = {  # grid sizes of the two sites
    "dem_swin": (6, 4),
    "dem_vit": (4, 4),
    "dem_deit": (10, 4),
    "dem_beit": (10, 4),
    "dem1_beit": (4, 4),
}
EFFECTIVE = {  # (where, grid size) of what acted in the published runs
    "dem_swin": (("image", 6), (0, 4)),
    "dem_vit": (("image", 4), (0, 4)),
    "dem_deit": (("image", 10), (0, 4)),
    "dem_beit": ((0, 10), (1, 4)),
    "dem1_beit": ((0, 4), (1, 4)),
}
PUBLISHED = ["base", *(f"{kind}_{model}" for model in PUBLISHED_MODELS for kind in BASELINES), *DEMS]
UNPUBLISHED = ["aug", "equiv", "cannon", "dem"]


def base() -> Config:
    """All values of the published base and of the scripts' flags, written out."""
    return Config(
        data=PictureData(
            name="folder",
            root=None,
            multi_scale_root=None,
            train_split="train",
            val_split="val",
            multi_scale_split="val",
            class_map="imagenet",
            train_samples=10000,
        ),
        model=ModelConfig(backbone=SWIN, pretrained=True, image_size=None, options={"drop_path_rate": 0.1}),
        augmentation=AugmentationConfig(
            scale=(0.08, 1.0),
            ratio=(0.75, 4 / 3),
            flip=0.5,
            interpolation="random",
            auto_augment="original",
            color_jitter=None,
            erase=0.25,
            mixup=0.8,
            cutmix=1.0,
            switch=0.5,
            smoothing=0.1,
        ),
        warp=WarpConfig(grid_size=8, strength=0.2, probability=0.0),
        loss=LossConfig(
            two_views=False,
            equivariance=EquivarianceTerm(distance="mse", weight=0.0),
            phi=PhiTerm(weight=1.0, difference=0.0, prior=0.0),
        ),
        train=TrainConfig(
            epochs=20,
            phases=(Phase(),),
            batch_size=128,
            backbone_lr=2.5e-6,
            canonicalizer_lr=None,
            weight_decay=0.05,
            backbone_clip=None,
            canonicalizer_clip=None,
            clip=5.0,
            layer_decay=0.75,
            finetune="complete",
            schedule=ScheduleConfig(name="cosine", warmup_epochs=5, warmup_lr=1e-8),
            amp="bf16",
        ),
        evaluation=EvaluationConfig(
            split="val",
            items=None,
            every=1,
            full_every=10,
            before_training=True,
            calibration_items=1000,
            warp_items=1000,
            floor_items=None,
            batch_size=100,
        ),
        wandb=WandbConfig(mode="disabled", project="scale_imagenet"),
    )


def entry(model: str, row: Baseline) -> Config:
    config = base()
    drop_path = 0.2 if model == "swin" else 0.1
    return replace(
        config,
        model=replace(config.model, backbone=BACKBONES[model], options={"drop_path_rate": drop_path}),
        warp=replace(config.warp, probability=0.5 if row.augments else 0.0),
        loss=replace(config.loss, equivariance=EquivarianceTerm(distance="mse", weight=0.01 * row.equivariance)),
        method=Candidates(values=(0.8, 1.0), limit=5, channels=(3, 8, 1), kernel_sizes=(3, 3))
        if row.canonicalizes
        else Plain(),
        train=replace(config.train, backbone_lr=row.lr, layer_decay=0.85 if model == "beit" else 0.75),
    )


def dem(name: str) -> Config:
    model = name.partition("_")[2]
    config = entry(model, BASELINES["equiv"])
    first, second = DEMS[name]
    return replace(
        config,
        model=replace(config.model, options={"drop_path_rate": 0.1}),
        method=DEC(
            sites=(
                Site(stage="image", grid_size=first, restore=False),
                Site(stage=0, grid_size=second, restore=False),
            ),
            channels=(3, 64, 128),
            kernel_sizes=(5, 3),
            pools=(4, 2),
            solver=Solver(name="anderson", max_steps=5, tol=1e-6, gradient="one_step"),
            input_size=224,
            normalize=True,
            condition="image",
            strength=1.0,
        ),
        train=replace(
            config.train,
            batch_size=100,
            canonicalizer_lr=0.01,
            canonicalizer_weight_decay=1e-4,
            clip=1.0,
            layer_decay=0.75,
        ),
        evaluation=replace(config.evaluation, before_training=False),
        legacy_double_normalization=True,
        legacy_shifted_sites=model == "beit",
        legacy_flat_groups=True,
    )


def loaded(name: str) -> Config:
    ((_, config),) = LOADED[name]
    return config


def test_all_published_names_are_there() -> None:
    assert len(PUBLISHED) == 22
    assert set(PUBLISHED) <= set(NAMES)
    ours = {name for name in set(NAMES) - set(PUBLISHED) if not name.startswith(("smoke", "photos", "undo"))}
    assert ours == {f"{kind}_{model}" for model in ("resnet", "dinov2") for kind in ("base", *UNPUBLISHED)}


@pytest.mark.parametrize("suite", ["smoke", "photos"])
def test_a_suite_runs_its_whole_family(suite: str) -> None:
    members = [name for name, _ in LOADED[suite]]
    suites = ("photos_frozen", "photos_residual")  # of another family
    assert members == [name for name in NAMES if name.startswith(f"{suite}_") and name not in suites]
    assert [name.split("_")[1] for name in members[:4]] == list(BASELINES)


def test_the_base_holds_the_published_values() -> None:
    assert loaded("base") == base()


@pytest.mark.parametrize("model", PUBLISHED_MODELS)
@pytest.mark.parametrize("kind", BASELINES)
def test_a_baseline_holds_the_published_values(kind: str, model: str) -> None:
    assert loaded(f"{kind}_{model}") == entry(model, BASELINES[kind])


@pytest.mark.parametrize("name", DEMS)
def test_a_dec_recipe_holds_the_published_values(name: str) -> None:
    assert loaded(name) == dem(name)


@pytest.mark.parametrize("name", EFFECTIVE)
def test_what_acted_in_the_published_runs(name: str) -> None:
    config = loaded(name).resolved()
    assert isinstance(config.method, DEC)
    assert tuple((site.stage, site.grid_size) for site in config.method.sites) == EFFECTIVE[name]
    assert not any(site.restore for site in config.method.sites)
    assert config.method.normalize  # behind the loader's normalization: for the second time
    assert config.train.layer_decay is None and config.train.weight_decay == 0.05
    assert config.resolved() == config


@pytest.mark.parametrize("name", EFFECTIVE)
def test_what_was_meant(name: str) -> None:
    """Without the legacy settings: pixels and the first stage, normalized once, with layer decay."""
    off = [f"{key}=false" for key in ("legacy_double_normalization", "legacy_shifted_sites", "legacy_flat_groups")]
    config = load_recipes(FILE, name, off, "pictures")[0][1].resolved()
    assert isinstance(config.method, DEC) and not config.method.normalize
    assert [(site.stage, site.grid_size) for site in config.method.sites] == list(
        zip(("image", 0), DEMS[name], strict=True)
    )
    assert config.train.layer_decay == 0.75


@pytest.mark.parametrize("model", BACKBONES)
def test_without_a_canonicalizer_resolving_changes_nothing(model: str) -> None:
    for kind in BASELINES:
        config = loaded(f"{kind}_{model}")
        assert config.resolved() == config


def test_layer_decay_goes_where_the_canonicalizer_has_a_rate_of_its_own() -> None:
    config = loaded("dem_swin")
    joint = replace(config, train=replace(config.train, canonicalizer_lr=None))
    assert joint.resolved().train.layer_decay == 0.75


@pytest.mark.parametrize("model", ["resnet", "dinov2"])
def test_ours_are_made_like_the_published_ones_without_their_faults(model: str) -> None:
    for kind, row in BASELINES.items():
        expected, config = entry(model, row), loaded(f"{kind}_{model}")
        size = 224 if model == "dinov2" else None
        rate = 1e-4 if model == "dinov2" else row.lr  # a head without weights needs a rate to train at
        assert config == replace(
            expected,
            model=replace(expected.model, image_size=size),
            train=replace(expected.train, backbone_lr=rate),
        )
    published, config = dem("dem_swin"), loaded(f"dem_{model}")
    assert isinstance(published.method, DEC) and isinstance(config.method, DEC)
    assert config.method == replace(published.method, sites=config.method.sites)
    assert [site.stage for site in config.method.sites] == ["image", 0]
    assert config.train == replace(published.train, backbone_lr=loaded(f"base_{model}").train.backbone_lr)
    assert not config.resolved().method.normalize
    assert config.resolved().train.layer_decay == 0.75


def test_legacy_settings_need_what_they_are_about() -> None:
    for name in ("legacy_double_normalization", "legacy_shifted_sites"):
        with pytest.raises(
            ConfigError, match=r"a legacy setting of the canonicalizer is on; it needs method\.name: dec"
        ):
            load_recipes(FILE, "base_swin", [f"{name}=true"], "pictures")
    shifted = load_recipes(FILE, "dem_beit", ["method.sites=[{stage: input}]"], "pictures")[0][1]
    with pytest.raises(ConfigError, match="legacy_shifted_sites is true with a site on the input; expected image or"):
        shifted.resolved()


def test_the_smoke_suite_needs_neither_network_nor_data() -> None:
    assert [name for name, _ in LOADED["smoke"]] == [name for name in NAMES if name.startswith("smoke_")]
    for name, config in LOADED["smoke"]:
        assert not config.model.pretrained and config.data.name == "shapes" and config.data.root is None
        assert loaded(name) == config


@pytest.mark.parametrize("name", NAMES)
def test_a_written_recipe_is_read_back(name: str, tmp_path) -> None:
    for member, config in LOADED[name]:
        (tmp_path / "config.yaml").write_text(dump(member, config))
        assert load_recipes(tmp_path / "config.yaml", kind="pictures") == [(member, config)]


def test_backbones_are_known_to_timm() -> None:
    timm = pytest.importorskip("timm")
    for name in NAMES:
        for member, config in LOADED[name]:
            backbone = config.model.backbone
            tag = backbone.partition(".")[2]
            assert timm.is_model(backbone) and (not tag or timm.models.get_pretrained_cfg(backbone).tag == tag)
            model = member.rpartition("_")[2]
            assert backbone == BACKBONES.get(model, backbone)
    # What the images are made like is timm's; only DINOv2 is given another size.
    sizes = {name: timm.models.get_pretrained_cfg(name).input_size[1] for name in BACKBONES.values()}
    assert [sizes[name] for name in (SWIN, VIT, DEIT, BEIT, RESNET, DINO)] == [224, 256, 224, 224, 224, 518]
    assert re.search(r"_(\d+)\.", VIT)[1] == "256"
