"""A small multi-scale set with all the faults that a real one may have."""

import threading
from typing import NamedTuple

import torch

from dataloader.pictures.groups import scale_groups
from tests.evaluation.stand_ins import smooth_images

CLASSES = 7
OBJECTS = {  # scales of each object
    "whole": "1 0.7 1.3",
    "other": "1.0 0.7 1.3",
    "short": "1 1.3",  # partial
    "late": "0.7 1.3",  # without scale 1
    "lone": "1",  # with no other
    "torn": "1 0.7 1.3",  # its picture at scale 1 cannot be read
    "worn": "1 0.7 1.3",  # one of the others cannot
    "long": "1 0.7 1.3 2",
}
NAMES = [f"n/{stem}_scale_{scale}.png" for stem, scales in OBJECTS.items() for scale in reversed(scales.split())]
NAMES += ["n/plain.png", "n/simple.png"]
UNREADABLE = {"n/torn_scale_1.png", "n/worn_scale_0.7.png", "n/simple.png"}


class FewPictures:
    """(image, label) of each; what cannot be read is empty, with the label -1.

    Attributes:
        labels: one for all scales of an object; they may be changed.
    """

    def __init__(self, names=NAMES, seed=0):
        self.names, self.groups = list(names), scale_groups(list(names))
        self.images = smooth_images(len(self.names), channels=3, seed=seed)
        stems = [name.split("_scale_")[0] for name in self.names]
        self.labels = [sorted(set(stems)).index(stem) % CLASSES for stem in stems]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, number):
        if self.names[number] in UNREADABLE:
            return torch.zeros_like(self.images[number]), -1
        return self.images[number], self.labels[number]


class Judges(NamedTuple):
    """Pictures in batches, as a script gives them to an evaluation."""

    dataset: FewPictures
    batches: list[list[int]]
    kind: str = "pictures"
    composed: None = None

    @property
    def groups(self):
        return self.dataset.groups

    def loader(self, batches):
        for batch in batches:
            images, labels = zip(*(self.dataset[number] for number in batch), strict=True)
            yield torch.stack(images), torch.tensor(labels), torch.tensor(batch)


def judges(size=4, **options):
    dataset = FewPictures(**options)
    return Judges(dataset, dataset.groups.batches(size))


def on_processes(world, measure):
    """What each of so many processes gets from ``measure(share, gather)``, which run at a time as threads."""
    parts, barrier, found = [None] * world, threading.Barrier(world, timeout=30), [None] * world

    def work(rank):
        def gather(columns):
            parts[rank] = columns
            barrier.wait()
            joined = {name: torch.cat([part[name] for part in parts]) for name in columns}
            barrier.wait()
            return joined

        try:
            found[rank] = measure((rank, world), gather)
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
