"""Mixup, cutmix and smoothed labels: timm's, with draws that belong to their step."""

from __future__ import annotations

from dataclasses import dataclass

from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from config.schema import AugmentationConfig
from dataloader.seeded import seeded


@dataclass(frozen=True)
class Mixing:
    """Makes soft labels, (B, classes), and mixes images with those that stand mirrored in the batch.

    ``BatchOrder`` gives such pairs to one process, and the draw is one for all of them: the mixture does not depend on
    the number of processes.
    """

    mixup: Mixup | None
    num_classes: int
    smoothing: float
    seed: int

    def __call__(self, image: Tensor, label: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        if self.mixup is None:
            return image, mixup_target(label, self.num_classes, 1.0, self.smoothing)
        count, middle = len(image), len(image) // 2
        # Of an odd number, the one in the middle stands there twice, and is mixed with itself.
        order = [*range(middle + count % 2), *range(middle, count)]
        with seeded(self.seed, "mixing", epoch, step):
            image, label = self.mixup(image[order], label[order])
        kept = [*range(middle), *range(middle + count % 2, len(order))]
        return image[kept], label[kept]


def build_mixing(config: AugmentationConfig, num_classes: int, seed: int) -> Mixing | None:
    """What a recipe does to batches, or None where it leaves them alone."""
    mixup = None
    if config.mixup > 0 or config.cutmix > 0:
        mixup = Mixup(
            mixup_alpha=config.mixup,
            cutmix_alpha=config.cutmix,
            switch_prob=config.switch,
            label_smoothing=config.smoothing,
            num_classes=num_classes,
        )
    if mixup is None and config.smoothing == 0:
        return None
    return Mixing(mixup, num_classes, config.smoothing, seed)
