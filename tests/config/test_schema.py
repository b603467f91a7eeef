"""What the dataclasses refuse, whoever makes them."""

from typing import Any

import pytest

from config.losses import ConsistencyTerm, EquivarianceTerm, PhiTerm
from config.schema import (
    AugmentationConfig,
    Config,
    DigitsData,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    Phase,
    PictureData,
    ScaledData,
    ScheduleConfig,
    StirData,
    TrainConfig,
    WarpConfig,
)
from layers.spec import DEC, Candidates, Energy, Site, Solver

MODEL = ModelConfig(backbone="resnet18")
SITES = (Site(stage=0), Site(stage=1))
SOME_DEC, ENERGY = DEC(sites=SITES), Energy(sites=SITES)
ALONE = (Phase(trains=("canonicalizer",), epochs=1), Phase())
PICTURES: dict[str, Any] = {"data": PictureData(), "evaluation": EvaluationConfig(split="val")}
CONSISTENT = LossConfig(consistency=ConsistencyTerm(weight=1.0))
TWO = (Site(stage=0), Site(stage=1))


@pytest.mark.parametrize(
    ("cls", "settings", "words"),
    [
        (DigitsData, {"n_digits": 1}, "n_digits is 1; expected at least 2"),
        (DigitsData, {"n_digits": 2}, "scales has 3 intervals; expected one per digit, 2"),
        (DigitsData, {"scales": ((2.0, 1.0),) * 3}, r"scales has \[2.0, 1.0\]; expected 0 < low <= high"),
        (DigitsData, {"test_scales": ((0.4, 2.6),) * 3}, "at most the cell_size, 70"),
        (DigitsData, {"test_scales": ((0.01, 1.0),) * 3}, "expected at least 1 and at most"),
        (DigitsData, {"channels": 2}, "channels is 2; expected 1 or 3"),
        (DigitsData, {"train_items": 0}, "train_items is 0; expected at least 1"),
        (DigitsData, {"workers": -1}, "workers is -1; expected at least 0"),
        (ScheduleConfig, {"name": "step", "milestones": (3, 2)}, r"milestones is \[3, 2\]; expected numbers from 1 on"),
        (ScheduleConfig, {"name": "step", "milestones": (0,)}, r"milestones is \[0\]; expected numbers from 1 on"),
        (ScheduleConfig, {"milestones": (3,)}, "milestones is given, which the schedule plateau does not read"),
        (ScaledData, {"name": "scaled/svhn"}, "name is 'scaled/svhn'; expected one of scaled/digits, scaled/mnist"),
        (ScaledData, {"interval": (0.0, 1.0)}, r"interval is \[0.0, 1.0\]; expected 0 < low <= high"),
        (ScaledData, {"rescale": (2.0, 0.5)}, r"rescale is \[2.0, 0.5\]; expected 0 < low <= high"),
        (ScaledData, {"law": "discrete"}, "factors is empty; expected some, for law is discrete"),
        (ScaledData, {"factors": (0.5,)}, "factors is given with law uniform; expected law discrete"),
        (
            ScaledData,
            {"law": "discrete", "factors": (1.0,), "interval": (0.5, 1.0)},
            "interval is given with law discrete",
        ),
        (ScaledData, {"law": "discrete", "factors": (0.0,)}, "factors has 0.0; expected finite numbers above 0"),
        (ScaledData, {"center": 0.5}, "center is 0.5 with law uniform; expected normal"),
        (ScaledData, {"law": "normal", "deviation": 0.0}, "deviation is 0.0; expected above 0"),
        (ScaledData, {"train_items": 1}, "train_items is 1; expected null or at least 2"),
        (ScaledData, {"validation_items": -1}, "validation_items is -1; expected null or at least 0"),
        (ScaledData, {"canvas": 0}, "canvas is 0; expected null or at least 1"),
        (ScaledData, {"cutout": -1}, "cutout is -1; expected at least 0"),
        (ScaledData, {"channels": 2}, "channels is 2; expected 1 or 3"),
        (StirData, {"name": "digits"}, "name is 'digits'; expected one of stir/digits, stir/mnist, stir/emoji-dejavu"),
        (StirData, {"name": "stir/letters"}, "name is 'stir/letters'; expected one of stir/digits"),
        (StirData, {"name": "stir/FILE"}, "file is null; expected the container that name stir/FILE asks for"),
        (StirData, {"file": "a.npz"}, "file is a.npz with name stir/digits; expected name stir/FILE"),
        (StirData, {"name": "stir/FILE", "file": "a.npz", "seed": 1}, "seed is 1 with name stir/FILE"),
        (StirData, {"scenario": 0}, "scenario is 0; expected 1, 2, 3 or 4"),
        (StirData, {"channels": 2}, "channels is 2; expected 1 or 3"),
        (StirData, {"rescale": (2.0, 0.5)}, r"rescale is \[2.0, 0.5\]; expected 0 < low <= high"),
        (StirData, {"rescale": (0.0, 0.5)}, r"rescale is \[0.0, 0.5\]; expected 0 < low <= high"),
        (StirData, {"seed": -1}, "seed is -1; expected at least 0"),
        (StirData, {"workers": -1}, "workers is -1; expected at least 0"),
        (ModelConfig, {"backbone": "x", "image_size": 0}, "image_size is 0; expected >= 1"),
        (ModelConfig, {"backbone": "x", "resize": 223}, "resize is 223; expected null or at least image_size, 224"),
        (ModelConfig, {"backbone": "x", "resize": 256, "image_size": None}, "resize is 256; expected null"),
        (ModelConfig, {"backbone": "x", "weights": "w"}, "weights is 'w' and pretrained true; expected one"),
        (Site, {"stage": -1}, "stage is -1; expected 0, 1, ..., image or input"),
        (Site, {"stage": 0, "grid_size": 1}, "grid_size is 1; expected a whole number of at least 2"),
        (Solver, {"max_steps": 0}, "max_steps is 0; anderson needs a whole number of at least 3"),
        (Solver, {"tol": -1.0}, "tol is -1.0; expected a finite number of at least 0"),
        (DEC, {"sites": ()}, "sites is empty; expected at least one"),
        (DEC, {"sites": (SITES[0],) * 2}, r"sites has the stages \[0, 0\]; expected each once"),
        (
            DEC,
            {"sites": SITES, "channels": (3, 8)},
            "channels has 2 numbers; expected 3, the image's and one per",
        ),
        (DEC, {"sites": SITES, "pools": (2,)}, "pools has 1 numbers; expected 2, one per kernel size"),
        (DEC, {"sites": SITES, "pools": (2, 0)}, r"pools is \[2, 0\]; expected whole numbers of at least 1"),
        (
            DEC,
            {"sites": SITES, "channels": (3, 0, 8)},
            r"channels is \[3, 0, 8\]; expected whole numbers of at least 1",
        ),
        (DEC, {"sites": SITES, "kernel_sizes": (3, 4)}, r"kernel_sizes is \[3, 4\]; expected odd numbers"),
        (DEC, {"sites": SITES, "kernel_sizes": ()}, "kernel_sizes is empty; expected one per block"),
        (DEC, {"sites": SITES, "strength": 0.0}, "strength is 0.0; expected a number above 0 and at most 1"),
        (DEC, {"sites": SITES, "strength": 1.1}, "strength is 1.1; expected a number above 0 and at most 1"),
        (DEC, {"sites": SITES, "input_size": 0}, "input_size is 0; expected None, or at least 1 pixel"),
        (Candidates, {"values": (1.0, 1.0)}, r"values is \[1.0, 1.0\]; expected at least two numbers, all diff"),
        (Candidates, {"values": (1.0,)}, r"values is \[1.0\]; expected at least two numbers"),
        (Candidates, {"limit": 0}, "limit is 0; expected 1 to 256, the number of profiles"),
        (Candidates, {"limit": 257}, "limit is 257; expected 1 to 256"),
        (Candidates, {"channels": (3, 4, 2)}, r"channels is \[3, 4, 2\]; expected 1 at the end, the score"),
        (Candidates, {"channels": (3, 1)}, "channels has 2 numbers; expected 3"),
        (Energy, {"sites": ()}, "sites is empty"),
        (Energy, {"sites": SITES, "learning_rate": (0.1,)}, "expected a finite number above 0, or one per site"),
        (Energy, {"sites": SITES, "learning_rate": (0.1, 0.0)}, "expected a finite number above 0, or one per site"),
        (Energy, {"sites": SITES, "learning_rate": 0.0}, "learning_rate is 0.0; expected a finite number above 0"),
        (Energy, {"sites": SITES, "decay": -1.0}, "decay is -1.0; expected a finite number of at least 0"),
        (
            Energy,
            {"sites": SITES, "betas": (0.5, 1.0)},
            r"betas is \[0.5, 1.0\]; expected two numbers, each 0 to below 1",
        ),
        (Energy, {"sites": SITES, "steps": 0}, "steps is 0; expected at least 1"),
        (Energy, {"sites": SITES, "test_steps": 0}, "test_steps is 0; expected at least 1"),
        (Energy, {"sites": SITES, "unroll": 6}, "unroll is 6; expected 1 to steps, 5"),
        (Energy, {"sites": SITES, "input_size": 0}, "input_size is 0; expected at least 1"),
        (Energy, {"sites": SITES, "channels": (3,)}, "channels has 1 numbers; expected 3"),
        (WarpConfig, {"grid_size": 1}, "grid_size is 1; expected at least 2"),
        (WarpConfig, {"strength": -0.1}, "strength is -0.1; expected at least 0"),
        (WarpConfig, {"probability": 1.1}, "probability is 1.1; expected 0 to 1"),
        (EquivarianceTerm, {"weight": -1.0}, "weight is -1.0; expected at least 0"),
        (PhiTerm, {"difference_max": -1.0}, "difference_max is -1.0; expected at least 0"),
        *(
            (Config, {"model": MODEL, "method": SOME_DEC, "loss": LossConfig(phi=PhiTerm(**{part: 0.1}))}, words)
            for part in ("difference", "difference_increment", "prior")
            for words in ["^loss.phi compares two views; set loss.two_views: true"]
        ),
        (ScheduleConfig, {"patience": -1}, "patience is -1; expected at least 0"),
        (ScheduleConfig, {"factor": 1.0}, "factor is 1.0; expected between 0 and 1"),
        (ScheduleConfig, {"step_size": 0}, "step_size is 0; expected at least 1"),
        (ScheduleConfig, {"floor": 1.1}, "floor is 1.1; expected 0 to 1"),
        (ScheduleConfig, {"warmup_epochs": -1}, "warmup_epochs is -1; expected at least 0"),
        (ScheduleConfig, {"warmup_lr": -1.0}, "warmup_lr is -1.0; expected at least 0"),
        (TrainConfig, {"epochs": -1}, "epochs is -1; expected at least 0"),
        (TrainConfig, {"phases": ()}, r"phases is empty; expected at least one, such as \[{}\]"),
        (TrainConfig, {"epochs": -1, "phases": ()}, "epochs is -1; expected at least 0"),
        (
            TrainConfig,
            {"epochs": 1, "phases": (Phase(epochs=2), Phase())},
            "2 epochs; expected at most train.epochs, 1",
        ),
        (TrainConfig, {"epochs": 3, "phases": (Phase(epochs=2),)}, "phases has 2 epochs; expected train.epochs, 3"),
        (TrainConfig, {"epochs": 3, "phases": (Phase(epochs=4),)}, "phases has 4 epochs; expected train.epochs, 3"),
        (
            TrainConfig,
            {"phases": (Phase(epochs=1), Phase(), Phase())},
            r"phases\[1\] has epochs: null; expected a number, for it is not the last one",
        ),
        (Phase, {"trains": ()}, r"trains is \[\]; expected backbone, canonicalizer, or both"),
        (Phase, {"trains": ("backbone",) * 2}, "expected backbone, canonicalizer, or both"),
        (Phase, {"epochs": -1}, "epochs is -1; expected null or at least 0"),
        *(
            (Phase, {"terms": {"task": weight}}, f"terms has task: {weight}; expected a finite number, at least 0")
            for weight in (-0.1, float("nan"), float("inf"), "much", True, None)
        ),
        *(
            (Phase, {"rates": {"backbone": rate}}, f"rates has backbone: {rate}; expected a finite number, above 0")
            for rate in (0, -1.0, float("inf"), "fast")
        ),
        (Phase, {"rates": {"head": 1.0}}, "rates has head, which does not train here; expected some of trains"),
        (
            Phase,
            {"trains": ("canonicalizer",), "rates": {"backbone": 1.0}},
            "rates has backbone, which does not train here; expected some of trains",
        ),
        (TrainConfig, {"batch_size": 0}, "batch_size is 0; expected at least 1"),
        (TrainConfig, {"accumulate": 65}, "accumulate is 65; expected 1 to batch_size, 64"),
        (TrainConfig, {"backbone_lr": 0.0}, "backbone_lr is 0.0; expected above 0"),
        (TrainConfig, {"canonicalizer_lr": 0.0}, "canonicalizer_lr is 0.0; expected above 0"),
        (TrainConfig, {"backbone_clip": 0.0}, "backbone_clip is 0.0; expected above 0"),
        (TrainConfig, {"canonicalizer_clip": -1.0}, "canonicalizer_clip is -1.0; expected above 0"),
        (TrainConfig, {"weight_decay": -1.0}, "weight_decay is -1.0; expected at least 0"),
        (TrainConfig, {"canonicalizer_weight_decay": -1.0}, "canonicalizer_weight_decay is -1.0; expected at least 0"),
        (TrainConfig, {"ema": 1.0}, "ema is 1.0; expected between 0 and 1"),
        (TrainConfig, {"checkpoint_steps": 0}, "checkpoint_steps is 0; expected at least 1"),
        (EvaluationConfig, {"every": 0}, "every is 0; expected at least 1"),
        (EvaluationConfig, {"local_scale_draws": 0}, "local_scale_draws is 0; expected at least 1"),
        (EvaluationConfig, {"batch_size": 0}, "batch_size is 0; expected at least 1"),
        (EvaluationConfig, {"items": 0}, "items is 0; expected null or at least 1"),
        (EvaluationConfig, {"full_every": 0}, "full_every is 0; expected at least 1"),
        (EvaluationConfig, {"warp_items": 0}, "warp_items is 0; expected null or at least 1"),
        (PictureData, {"name": "folders"}, "name is 'folders'; expected folder, shapes, wds/, hfds/NAME or hfids/NAME"),
        (PictureData, {"side": 0}, "side is 0; expected null or at least 1"),
        (PictureData, {"name": "hfds/"}, "name is 'hfds/'; expected a name after hfds/"),
        *(
            (Config, {"model": MODEL, **settings}, words)
            for settings, words in (
                (
                    {"evaluation": EvaluationConfig(split="val")},
                    "evaluation.split is val; expected one of test, valida",
                ),
                ({"data": PictureData()}, "evaluation.split is test; expected one of val, held_out with pictures"),
                (
                    {"augmentation": AugmentationConfig(mixup=0.1)},
                    "^augmentation is set, which is about pictures; data.name is mnist, of digits",
                ),
                ({"legacy_double_normalization": True}, "^legacy_double_normalization is set, which is about pictures"),
                ({"legacy_shifted_sites": True}, "^legacy_shifted_sites is set, which is about pictures"),
                ({"legacy_flat_groups": True}, "^legacy_flat_groups is set, which is about pictures"),
                (
                    {**PICTURES, "evaluation": EvaluationConfig(split="val", local_scale_items=3)},
                    "^evaluation.local_scale_items is set, which is about digits or dense or scaled; data.name",
                ),
                (
                    {**PICTURES, "evaluation": EvaluationConfig(split="val", local_scale_draws=3)},
                    "^evaluation.local_scale_draws is set, which is about digits",
                ),
            )
        ),
        (
            Config,
            {"model": MODEL, "train": TrainConfig(phases=(Phase(terms={"tsk": 1.0, "phi": 1.0}),))},
            r"train.phases\[0\].terms has tsk; expected some of task, equivariance, phi, consistency, uniqueness",
        ),
        (
            Config,
            {"model": MODEL, "method": SOME_DEC, "train": TrainConfig(phases=(Phase(rates={"canonicalizer": 0.1}),))},
            r"train.phases\[0\].rates has canonicalizer, but train.canonicalizer_lr is null; it needs a first rate",
        ),
        (
            Config,
            {"model": MODEL, "train": TrainConfig(phases=ALONE)},
            r"train.phases\[0\] trains the canonicalizer alone; it needs method.name: dec or energy",
        ),
        (
            Config,
            {"model": MODEL, "method": SOME_DEC, "train": TrainConfig(phases=ALONE)},
            "train.canonicalizer_lr is null; a phase of its own needs a rate of its own",
        ),
        (
            Config,
            {"model": MODEL, "loss": LossConfig(two_views=True, phi=PhiTerm(prior=0.1))},
            "loss.phi has parts above 0; they need method.name: dec",
        ),
        (Config, {"model": MODEL, "loss": CONSISTENT}, "loss.consistency.weight is above 0; it needs method.name: dec"),
        (
            Config,
            {"model": MODEL, "method": SOME_DEC, "loss": CONSISTENT, "warp": WarpConfig(strength=0.0)},
            "loss.consistency.weight is above 0 with warp.strength 0",
        ),
        (
            Config,
            {"model": MODEL, "method": DEC(sites=TWO), "loss": CONSISTENT},
            "with 2 sites; expected one, or restore: true at all",
        ),
        (
            Config,
            {"model": MODEL, "method": DEC(sites=TWO[:1], condition="feature"), "loss": CONSISTENT},
            "with method.condition feature; it then needs loss.two_views: true",
        ),
        (
            Config,
            {
                "model": ModelConfig(backbone="x", image_size=24, resize=32),
                "method": DEC(sites=(Site(stage="input", restore=True),)),
            },
            "restores a warp of the input, but model.resize cuts",
        ),
        (DEC, {"sites": TWO, "strides": (2,)}, "strides has 1 numbers; expected 2, one per kernel size"),
    ],
)
def test_what_cannot_be_meant_is_refused(cls: type, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):  # a ConfigError, once it is known where it stands
        cls(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": DEC(sites=(Site(stage="image"), *SITES), input_size=None, strength=1.0)},
        {"method": Energy(sites=SITES, learning_rate=(0.1, 0.2), unroll=2, test_steps=9)},
        {"method": Candidates(values=(0.8, 1.0), limit=256)},
        {"data": DigitsData(n_digits=2, scales=((1.0, 1.0),) * 2, test_scales=((0.4, 2.0),) * 2, cell_size=56)},
        {"method": SOME_DEC, "loss": LossConfig(two_views=True, phi=PhiTerm(prior=0.1, difference=0.1))},
        {"method": ENERGY, "train": TrainConfig(phases=(ALONE[0],), epochs=1, canonicalizer_lr=0.1)},
        {
            "train": TrainConfig(phases=(Phase(trains=("canonicalizer",), epochs=0), Phase()))
        },  # an empty one needs nothing
        {
            "method": SOME_DEC,
            "train": TrainConfig(epochs=3, phases=(Phase(epochs=1), Phase(epochs=0), Phase(epochs=2))),
        },
        {"data": ScaledData(), "train": TrainConfig(patience=3), "evaluation": EvaluationConfig(scales=(0.1, 9.0))},
        {"data": ScaledData(law="discrete", factors=(0.5, 2.0), canvas=56)},
        {"data": ScaledData(law="normal", center=0.5, deviation=0.1)},
        {"data": StirData(name="stir/FILE", file="a.npz"), "train": TrainConfig(patience=3)},
        {"data": StirData(), "evaluation": EvaluationConfig(split="validation")},
        {**PICTURES, "augmentation": AugmentationConfig(mixup=0.1)},
        {**PICTURES, "evaluation": EvaluationConfig(split="held_out")},
        {**PICTURES, "data": PictureData(name="hfds/some/set")},
        {**PICTURES, "data": PictureData(name="wds/")},
        {"model": ModelConfig(backbone="x", pretrained=False, weights="w.pth", image_size=224, resize=224)},
    ],
)
def test_what_can_be_meant_is_taken(settings: dict[str, Any]) -> None:
    Config(**{"model": MODEL, **settings})


def test_a_phase_has_the_weights_of_the_loss_where_it_gives_none() -> None:
    phases = (Phase(epochs=2, terms={"task": 0.0, "equivariance": 3}), Phase(epochs=1, terms={"phi": 0.5}), Phase())
    loss = LossConfig(equivariance=EquivarianceTerm(weight=0.25))
    config = Config(model=MODEL, loss=loss, train=TrainConfig(epochs=9, phases=phases))
    assert config.weights("task") == [0.0, 1.0, 1.0]
    assert config.weights("equivariance") == [3, 0.25, 0.25]
    assert config.weights("phi") == [0.1, 0.5, 0.1]
    assert config.train.epochs_of_phases == [2, 1, 6]


def test_a_term_is_checked_where_any_phase_gives_it_a_weight() -> None:
    some = TrainConfig(phases=(Phase(epochs=1), Phase(terms={"consistency": 1.0})))
    with pytest.raises(ValueError, match=r"^loss.consistency.weight is above 0; it needs method.name: dec"):
        Config(model=MODEL, train=some)
    none = TrainConfig(phases=(Phase(terms={"consistency": 0.0}),))
    assert Config(model=MODEL, loss=CONSISTENT, train=none).weights("consistency") == [0.0]


def test_a_residual_dec_on_pictures_is_resolved_to_itself() -> None:
    """Its maps normalize nothing, so that there is nothing to be said twice."""
    config = Config(
        data=PictureData(),
        model=ModelConfig(backbone="none"),
        method=DEC(equilibrium="residual", sites=(Site("image", 8),)),
        evaluation=EvaluationConfig(split="val"),
    )
    assert config.resolved() == config
