"""What a recipe's settings make of an evaluation."""

from dataclasses import dataclass, field

import pytest
import torch

from config.schema import Config, ModelConfig
from tests.evaluation.stand_ins import Items, small_net, smooth_images
from train.distributed import Process
from train.measuring import build_measure

IMAGES, LABELS = smooth_images(4), torch.arange(4)
CONFIG = Config(model=ModelConfig(backbone="none"))
ALONE = Process(0, 1, torch.device("cpu"))


@dataclass
class Splits:
    """Few items, of which some may be broken."""

    batches: list[list[int]]
    broken: int = 0
    limit: int = 0
    calibration: None = None
    evaluated: dict = field(init=False)

    def __post_init__(self):
        self.evaluated = {"test": Items(IMAGES, LABELS, self.batches)}

    def check(self):
        if self.broken > self.limit:
            raise OSError("too many pictures could not be read")

    def count_broken(self, summed):
        return int(summed(torch.tensor(self.broken)))


def test_what_could_not_be_read_is_told_first() -> None:
    """It says more than that there was nothing to be measured."""
    with pytest.raises(OSError, match="too many"):
        build_measure(CONFIG, Splits([], broken=1), ALONE)(small_net(), True)


def test_broken_pictures_are_counted_where_there_are_any() -> None:
    whole = build_measure(CONFIG, Splits([[0, 1], [2, 3]]), ALONE)(small_net(), True).metrics
    some = build_measure(CONFIG, Splits([[0, 1], [2, 3]], broken=2, limit=5), ALONE)(small_net(), True).metrics
    assert "broken" not in whole and some == whole | {"broken": 2}
