"""Views of pictures and their masks as a data set, and the splits of recipes on them."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from config.schema import Config, ConfigError, DensePictureData
from dataloader.dense.geometry import drawn, whole
from dataloader.dense.sources import Coco, MultiScale, Source, Voc
from dataloader.order import BatchOrder, Indexed
from dataloader.split import split_indices
from dataloader.splits import Part, Splits, batches_of
from layers.seeds import seed_of

SPLIT_SEED = 0  # of all runs: they are judged by the same pictures


class Views(Dataset[tuple[Tensor, Tensor]]):
    """Pictures in [0, 1] with labels (side, side): all of each, or random views that belong to seed, epoch and item.

    Args:
        source: of the pictures.
        side: of the views.
        scale: of random views, see ``dataloader.dense.geometry.drawn``; None shows all of every picture.
        flip: probability of exchanging left and right in random views.
        seed: of the draws.
    """

    def __init__(
        self, source: Source, side: int, scale: tuple[float, float] | None = None, flip: float = 0.0, seed: int = 0
    ):
        self.source, self.side, self.scale, self.flip, self.seed = source, side, scale, flip, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that outlive an epoch hear of it

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        picture, mask = self.source.read(number)
        size = (mask.shape[0], mask.shape[1])
        if self.scale is None:
            return whole(size, self.side).of(picture, mask)
        draw = random.Random(seed_of(self.seed, "view", int(self._epoch), number))
        draws = (draw.random(), draw.random(), draw.random(), draw.random())
        return drawn(size, self.side, self.scale, self.flip, draws).of(picture, mask)

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that views are drawn for."""
        self._epoch.fill_(epoch)


def picture_splits(config: Config, seed: int, share: tuple[int, int], trains: bool) -> Splits:
    """See ``dataloader.build``: random views to train on, and all of every picture to judge by."""
    data, evaluation = section_of(config), config.evaluation
    trained, judged = _items(data)
    source = build_source(data, data.val_split)
    if source.groups is None:
        groups = [[item] for item in judged[: evaluation.items]]
    else:
        groups = source.groups.members[: evaluation.items]
    part = Part(
        kind=data.kind,
        dataset=Indexed(Views(source, data.side)),
        batches=batches_of(groups, evaluation.batch_size),
        workers=data.workers,
        groups=source.groups,
    )
    loader = None
    if trains:
        views = Views(build_source(data, data.train_split), data.side, data.scale, data.flip, seed)
        items = trained[: data.train_samples]
        order = BatchOrder(items, config.train.batch_size, seed, *share)
        loader = DataLoader(Indexed(views), batch_sampler=order, num_workers=data.workers)
    report = f"{data.name}: {len(source.names)} classes, {len(trained)} pictures to train on, {len(judged)} to judge by"
    return Splits(num_classes=len(source.names), train=loader, evaluated={evaluation.split: part}, report=(report,))


def section_of(config: Config) -> DensePictureData:
    """The data section of a recipe on pictures."""
    assert isinstance(config.data, DensePictureData)
    return config.data


def build_source(data: DensePictureData, split: str) -> Source:
    """Of a split; both splits of an instance file are the file."""
    if data.root is None:
        raise ConfigError(f"data.root is null; expected the folder of {data.name}, data.root=FOLDER")
    return _opened(data.name, Path(data.root), split, data.train_split, data.annotations, data.images, data.num_classes)


@lru_cache(maxsize=4)
def _opened(
    name: str, root: Path, split: str, train_split: str, annotations: str, images: str, num_classes: int | None
) -> Source:
    if name == "dense/voc":
        return Voc(root, split, num_classes)
    if name == "dense/coco":
        return Coco(root / annotations, root / images)
    names = MultiScale(root, train_split).names if split != train_split else None
    return MultiScale(root, split, names)


def _items(data: DensePictureData) -> tuple[list[int], list[int]]:
    """Numbers of what is trained on and judged by; a single file is divided by a fixed draw."""
    counts = [len(build_source(data, split)) for split in (data.train_split, data.val_split)]
    if data.name != "dense/coco":
        return split_indices(counts[0], SPLIT_SEED, counts[0])[0].tolist(), [*range(counts[1])]
    wanted = counts[0] // 5 if data.val_items is None else data.val_items
    if not 0 < wanted < counts[0]:
        raise ConfigError(f"data.val_items is {wanted}; the file has {counts[0]} pictures, of which some must train")
    judged, trained = split_indices(counts[0], SPLIT_SEED, wanted, counts[0] - wanted)
    return trained.tolist(), judged.tolist()
