"""Training pictures beside their siblings: the same objects at scale 1, through the same draw of the transform."""

from __future__ import annotations

from typing import Any

from config.schema import ConfigError
from dataloader.order import Indexed
from dataloader.pictures.decoding import BrokenPictures
from dataloader.pictures.items import TrainingPictures

FILES = "files NAME_scale_1.EXT beside NAME_scale_S.EXT"  # what has siblings


class WithSiblings(Indexed):
    """(image, label, index, sibling) of every item; a picture at scale 1 is its own sibling.

    One draw can only cut the same part out of both where both are of one size, as pictures of one object are.

    Args:
        pictures: of the training; those that are trained on all need a sibling.
    """

    def __init__(self, pictures: TrainingPictures):
        super().__init__(pictures)
        self.pictures, self.siblings = pictures, pictures.groups.siblings
        lone = [item for item in pictures.items if self.siblings[item] < 0]
        if lone:
            raise ConfigError(
                f"of {len(pictures.items)} pictures to train on, {len(lone)} have no sibling, "
                f"{pictures.source.name(lone[0])} for instance; expected {FILES}"
            )

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        pictures = self.pictures
        number, (image, sibling) = pictures.readable(index, lambda item: (item, int(self.siblings[item])))
        if image.size != sibling.size:
            raise BrokenPictures(
                f"{pictures.source.name(number)} has {image.size} pixels and its sibling {sibling.size}; expected "
                "pictures of one size, out of which one draw cuts the same part"
            )
        label = int(pictures.source.labels[number])
        return pictures.drawn(image, number), label, index, pictures.drawn(sibling, number)
