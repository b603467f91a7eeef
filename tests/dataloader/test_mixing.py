"""Mixtures of batches: timm's, and the same ones for any number of processes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from config.schema import AugmentationConfig
from dataloader.mixing import Mixing, build_mixing
from dataloader.order import BatchOrder
from dataloader.seeded import seeded

IMAGES = torch.rand(23, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(23) % 5
KINDS = {"mixup": {"mixup": 0.8}, "cutmix": {"cutmix": 1.0}, "both": {"mixup": 0.8, "cutmix": 1.0}}


def mixing(smoothing: float = 0.1, **options: float) -> Mixing:
    found = build_mixing(AugmentationConfig(smoothing=smoothing, **options), num_classes=5, seed=7)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_with_equal_draws_it_is_timms(kind: str) -> None:
    options = KINDS[kind]
    theirs = Mixup(
        mixup_alpha=options.get("mixup", 0.0),
        cutmix_alpha=options.get("cutmix", 0.0),
        label_smoothing=0.1,
        num_classes=5,
    )
    changed = 0
    for step in range(6):
        image, label = mixing(**options)(IMAGES[:8], LABELS[:8], 3, step)
        with seeded(7, "mixing", 3, step):
            expected = theirs(IMAGES[:8].clone(), LABELS[:8])
        assert torch.equal(image, expected[0]) and torch.equal(label, expected[1])
        changed += not torch.equal(image, IMAGES[:8])
    assert changed >= 5  # a patch of cutmix may be empty


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("kind", KINDS)
def test_mirrored_items_are_mixed_and_the_middle_one_with_itself(kind: str, count: int) -> None:
    given = IMAGES[:count].clone()
    for step in range(3):
        image, label = mixing(smoothing=0.0, **KINDS[kind])(given, LABELS[:count], 0, step)
        assert torch.equal(given, IMAGES[:count])  # it is not written to
        assert image.shape == given.shape and label.shape == (count, 5)
        torch.testing.assert_close(label.sum(1), torch.ones(count))
        for place in range(count):
            one, other = LABELS[place], LABELS[count - 1 - place]
            own = label[place, one].item()
            assert label[place, other].item() == pytest.approx(1 - own if one != other else 1, abs=1e-6)
            pixels, own_pixels, others = image[place], IMAGES[place], IMAGES[count - 1 - place]
            if kind == "mixup" and one != other:
                torch.testing.assert_close(pixels, own * own_pixels + (1 - own) * others)
            if kind == "cutmix":
                assert ((pixels == own_pixels) | (pixels == others)).all()
        if count % 2:
            torch.testing.assert_close(image[count // 2], IMAGES[count // 2])


def whole_and_shared(order_of, mix: Mixing, world: int, epoch: int) -> tuple[list, list]:
    """Per step the mixed items of one process, and those of ``world`` processes, by their numbers."""

    def mixed(rank: int, count: int) -> list[dict[int, tuple[Tensor, Tensor]]]:
        order = order_of(rank, count)
        order.seek(epoch)
        found = []
        for step, batch in enumerate(order):
            image, label = mix(IMAGES[batch], LABELS[batch], epoch, step)
            pairs = zip(batch, zip(image, label, strict=True), strict=True)
            found.append(dict(pairs) if order.weight(step) > 0 else {})
        return found

    parts = [mixed(rank, world) for rank in range(world)]
    joined = []
    for step in zip(*parts, strict=True):
        numbers = [number for part in step for number in part]
        assert len(numbers) == len(set(numbers))
        joined.append({number: pair for part in step for number, pair in part.items()})
    return mixed(0, 1), joined


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [5, 8])
def test_processes_together_make_the_mixtures_of_one(kind: str, world: int, size: int) -> None:
    """The last batch has 3 items, or 7."""

    def order_of(rank: int, count: int) -> BatchOrder:
        return BatchOrder(list(range(23)), size, seed=1, rank=rank, world=count)

    for epoch in (0, 1):
        whole, shared = whole_and_shared(order_of, mixing(**KINDS[kind]), world, epoch)
        for step, parts in zip(whole, shared, strict=True):
            assert step.keys() == parts.keys()
            for number, (image, label) in step.items():
                assert torch.equal(image, parts[number][0]) and torch.equal(label, parts[number][1])


def test_a_draw_belongs_to_the_seed_the_epoch_and_the_step() -> None:
    mix = mixing(mixup=0.8)
    image = mix(IMAGES, LABELS, 1, 2)[0]
    assert torch.equal(image, mix(IMAGES, LABELS, 1, 2)[0])
    for other in ((1, 3), (2, 2)):
        assert not torch.equal(image, mix(IMAGES, LABELS, *other)[0])
    assert not torch.equal(image, Mixing(mix.mixup, 5, 0.1, seed=8)(IMAGES, LABELS, 1, 2)[0])


def test_global_generators_are_left_alone() -> None:
    mix = mixing(mixup=0.8, cutmix=1.0)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        found.append([mix(IMAGES, LABELS, 0, step)[0] for step in range(4)])
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(map(torch.equal, *found))


def test_they_are_restored_behind_an_error_too() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(KeyError), seeded(3, "x"):
        torch.rand(1), random.random(), np.random.rand()
        raise KeyError
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_smoothing_alone_changes_labels_alone() -> None:
    image, label = mixing(smoothing=0.2)(IMAGES[:3], LABELS[:3], 0, 0)
    assert image.data_ptr() == IMAGES.data_ptr()
    expected = torch.full((3, 5), 0.04) + 0.8 * torch.eye(5)[:3]
    torch.testing.assert_close(label, expected)
    torch.testing.assert_close(label, mixup_target(LABELS[:3], 5, 1.0, 0.2))


def test_a_recipe_that_mixes_nothing_has_no_mixing() -> None:
    assert build_mixing(AugmentationConfig(), num_classes=5, seed=7) is None
