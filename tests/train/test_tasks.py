"""Segmentation as a task: what a map of labels costs, and what a warp does to it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from tests.evaluation.stand_ins import smooth_images
from tests.train.dense_runs import config_of
from train.tasks import Classification, Segmentation, build_task

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(3, 4, 6, 5, generator=GENERATOR)
LABELS = torch.randint(0, 4, (3, 6, 5), generator=GENERATOR)
PHI = random_warp_params(3, 4, 0.5, generator=GENERATOR)


def test_the_loss_is_the_mean_over_pixels_and_images() -> None:
    assert Segmentation().loss(LOGITS, LABELS) == pytest.approx(F.cross_entropy(LOGITS, LABELS).item(), abs=1e-6)
    weights = (0.1, 1.0, 2.0, 0.0)
    expected = torch.stack(
        [
            F.cross_entropy(*pair, weight=torch.tensor(weights))
            for pair in zip(LOGITS.split(1), LABELS.split(1), strict=True)
        ]
    ).mean()
    assert Segmentation(weights).loss(LOGITS, LABELS) == pytest.approx(expected.item(), abs=1e-6)


def test_ignored_pixels_cost_nothing_and_have_no_gradient() -> None:
    labels, logits = LABELS.clone(), LOGITS.clone().requires_grad_()
    labels[0, :3], labels[1] = 255, 255
    loss = Segmentation((1.0, 2.0, 3.0, 4.0)).loss(logits, labels)
    loss.backward()
    gradient = logits.grad.abs().sum(1)
    assert gradient[0, :3].max() == 0 and gradient[1].max() == 0 and gradient[0, 3:].min() > 0
    assert Segmentation().score(LOGITS, labels)[1] == 0


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    labels = LABELS.clone()
    labels[0, :4] = 255
    task = Segmentation((0.5, 1.0, 1.0, 1.0))
    parts = [task.loss(LOGITS[part], labels[part]) * len(labels[part]) / 3 for part in (slice(0, 1), slice(1, 3))]
    assert task.loss(LOGITS, labels) == pytest.approx(float(sum(parts)), abs=1e-6)


def test_the_score_is_the_share_of_known_pixels() -> None:
    labels = LABELS.clone()
    labels[:, 0] = 255
    right = (LOGITS.argmax(1) == labels)[:, 1:].float().mean((1, 2))
    torch.testing.assert_close(Segmentation().score(LOGITS, labels), right)


def test_warped_labels_are_those_of_the_warped_image_and_never_mixed() -> None:
    """An image of the labels themselves, read at the nearest pixel, is what its own labels become."""
    labels = (smooth_images(3, 24)[:, 0] > 0).long() * 7
    warped = Segmentation().warped(labels, PHI)
    assert set(warped.unique().tolist()) == {0, 7} and warped.dtype == torch.int64
    expected = monotone_warp(labels[:, None], PHI, mode="nearest")[:, 0]
    assert torch.equal(warped, expected)
    between = monotone_warp(labels[:, None].float(), PHI)[:, 0]
    assert ((warped - between).abs() > 3.5).float().mean() < 0.01  # where bilinear reading says mostly the other


def test_aligned_logits_are_equal_of_a_model_that_follows_the_warp() -> None:
    image = smooth_images(3, 24, channels=2)
    net = torch.nn.Conv2d(2, 4, 1)
    phi = WarpParams(PHI.x, PHI.y)
    first, second = Segmentation().aligned(net(image), net(monotone_warp(image, phi)), phi)
    assert first.shape == (3 * 24 * 24, 4)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)  # a 1 x 1 convolution commutes with reading
    other = WarpParams(PHI.y, PHI.x)
    assert (Segmentation().aligned(net(image), net(monotone_warp(image, phi)), other)[0] - second).abs().max() > 0.05


def test_shapes_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match=r"labels have shape \(3,\) and logits \(3, 4, 6, 5\); expected a label for"):
        Segmentation().loss(LOGITS, torch.zeros(3).long())
    with pytest.raises(ValueError, match=r"labels have shape \(3, 6, 5\) and logits \(3, 4, 5, 6\)"):
        Segmentation().loss(LOGITS.mT, LABELS)


def test_the_data_say_which_task_it_is(tmp_path) -> None:
    task = build_task(config_of(tmp_path, {"loss": {"task": {"class_weights": [0.1, *[1.0] * 10]}}}), 11)
    assert isinstance(task, Segmentation) and task.weights[0] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="class_weights has 2 numbers; expected 11, one per class"):
        build_task(config_of(tmp_path, {"loss": {"task": {"class_weights": [0.1, 1.0]}}}), 11)
    assert Classification().aligned(LOGITS, LABELS, PHI) == (LOGITS, LABELS)
