"""Measures of dense prediction against counting by hand: edges, equivariance, and objects at several scales."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from config.dense import VOID
from dataloader.dense.digits import AtScales, LabelledDigits
from dataloader.digits.single import embedded_digits
from dataloader.order import Indexed
from dataloader.splits import Part
from evaluation.evaluator import evaluate
from evaluation.measures.boundary import rim
from evaluation.measures.object_scales import compared
from layers.grid import WarpParams, evaluate_grid
from layers.monotone import inverse_monotone_warp, monotone_warp
from layers.seeds import item_warps
from tests.evaluation.dense_sets import CLASSES, blots, colours
from tests.evaluation.stand_ins import chunks

STRENGTH = 0.5


def near_the_edge(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixel by pixel: whether one outside, or the border, lies within so many rows and columns."""
    found = np.zeros_like(mask)
    H, W = mask.shape
    for y, x in zip(*np.nonzero(mask), strict=True):
        around = [(y + dy, x + dx) for dy in range(-width, width + 1) for dx in range(-width, width + 1)]
        found[y, x] = any(not (0 <= v < H and 0 <= u < W) or not mask[v, u] for v, u in around)
    return found


def test_rims_and_boundary_iou_are_those_counted_by_hand() -> None:
    part, net = blots(count=5, side=40), colours()
    width = round(0.02 * math.hypot(40, 40))
    answers = net(part.images).argmax(1)
    both, answered, labelled = np.zeros((3, CLASSES))
    for answer, label in zip(answers.numpy(), part.labels.numpy(), strict=True):
        for number in range(CLASSES):
            masks = [(values == number) & (label != 255) for values in (answer, label)]
            rims = [near_the_edge(mask, width) for mask in masks]
            assert np.array_equal(rim(torch.tensor(masks[0])[None], width)[0].numpy(), rims[0])
            both[number] += (rims[0] & rims[1]).sum()
            answered[number] += rims[0].sum()
            labelled[number] += rims[1].sum()
    expected = np.nanmean(both / (answered + labelled - both))
    assert evaluate(net, {"test": part}).metrics["boundary_iou"] == pytest.approx(expected, abs=1e-12)


class Blurred(nn.Module):
    """A segmenter that looks at neighbours, so that it does not follow warps."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.net = colours(classes=classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(F.avg_pool2d(image, 5, 1, 2))


@torch.no_grad()
def test_the_equivariance_error_is_that_computed_pixel_by_pixel() -> None:
    part, net = blots(), Blurred()
    found = evaluate(net, {"test": part}, strength=STRENGTH, grid_size=4)
    phi = item_warps(range(9), 4, STRENGTH, 0, "warp error")
    line = torch.arange(24.0)
    places = torch.stack([line.expand(24, 24), line[:, None].expand(24, 24)]).expand(9, -1, -1, -1)

    def there_and_back(image: torch.Tensor) -> torch.Tensor:
        return inverse_monotone_warp(monotone_warp(image, phi), phi, method="exact")

    seen = (there_and_back(places) - places).norm(dim=1) < 0.5
    assert 0 < (~seen).sum() < 9
    seen &= part.labels != VOID
    labelled = seen.flatten(1).any(1)
    assert found.items["equivariance_index"].tolist() == labelled.nonzero()[:, 0].tolist() != [*range(9)]

    def mean(values: torch.Tensor) -> list[float]:
        pairs = zip(values[labelled], seen[labelled], strict=True)
        return [float(value[where].double().mean()) for value, where in pairs]

    answer = net(part.images)
    brought = inverse_monotone_warp(net(monotone_warp(part.images, phi)), phi, method="exact")
    for name, other in (("error", brought), ("floor", there_and_back(answer))):
        expected = np.sqrt(mean((answer.softmax(1) - other.softmax(1)).square().sum(1)))
        assert found.items[f"warp_equivariance_{name}"] == pytest.approx(expected, abs=1e-5)
    assert found.items["pixel_flips"] == pytest.approx(mean(answer.argmax(1) != brought.argmax(1)), abs=1e-6)
    assert found.metrics["warp_equivariance_floor"] < found.metrics["warp_equivariance_error"] / 2


def test_a_pixelwise_segmenter_is_at_the_floor() -> None:
    found = evaluate(colours(), {"test": blots()}, strength=STRENGTH, grid_size=4).metrics
    assert found["warp_equivariance_error"] < 1.5 * found["warp_equivariance_floor"] < 0.2


def test_pixels_that_no_way_leads_back_to_do_not_count(monkeypatch) -> None:
    """Where the inverse does not invert, as beside a fold, the two are not compared."""
    import evaluation.pixels

    exact = evaluation.pixels.inverse_warp_grid

    def torn(phi: WarpParams, size: tuple[int, int], **options: str) -> torch.Tensor:
        grid = exact(phi, size, **options)
        grid[:, :, :12] = 1 - grid[:, :, :12]
        return grid

    monkeypatch.setattr(evaluation.pixels, "inverse_warp_grid", torn)
    part, net = blots(), colours()
    torn_found = evaluate(net, {"test": part}, strength=STRENGTH, grid_size=4).metrics
    assert torn_found["warp_equivariance_error"] < 0.2  # what was torn is far off, and left out


def test_objects_are_compared_inside_their_masks_place_by_place() -> None:
    """An object of 4 x 6 pixels, and the same at twice the size elsewhere, by a loop over its pixels."""
    label, label_at_one = torch.zeros(20, 24).long(), torch.zeros(20, 24).long()
    label_at_one[3:7, 2:8] = 2
    label_at_one[3, 2] = 0
    label[8:16, 9:21] = 2
    label[0, 0] = 3  # no object at scale 1
    generator = torch.Generator().manual_seed(0)
    logits, at_one = torch.randn(2, CLASSES, 20, 24, generator=generator)
    ((p, q),) = compared(logits, label, at_one, label_at_one, 2.0)
    expected_p, expected_q = [], []
    for row in range(4):
        for column in range(6):
            if (row, column) == (0, 0):
                continue
            place = logits[:, 8 + 2 * row : 10 + 2 * row, 9 + 2 * column : 11 + 2 * column]
            expected_p.append(place.softmax(0).mean((1, 2)))  # the middle of four pixels
            expected_q.append(at_one[:, 3 + row, 2 + column].softmax(0))
    torch.testing.assert_close(p, torch.stack(expected_p, 1))
    torch.testing.assert_close(q, torch.stack(expected_q, 1))


@pytest.mark.parametrize("void", [0, 5])
@pytest.mark.parametrize("middle", [(20.0, 20.0), (6.0, 20.0), (33.0, 34.0), (20.0, 7.0)])
def test_an_object_that_the_picture_cuts_off_is_compared_where_it_is_seen(middle: tuple, void: int) -> None:
    """The answer says how far a pixel lies from the object's middle, so that it follows the object exactly."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    maps, labels = [], []
    for scale in (1.6, 1.0):
        y, x = (rows - middle[0]) / scale, (columns - middle[1]) / scale
        label = ((y.abs() <= 5) & (x.abs() <= 4)).long()
        label[:, :void] = label[:, 40 - void :] = VOID
        maps.append(torch.stack([0 * y, 0.1 * y, 0.1 * x]))
        labels.append(label)
    ((p, q),) = compared(maps[0], labels[0], maps[1], labels[1], 1.6)
    assert p.shape[1] > 20 and (p - q).norm(dim=0).max() < 0.02


def test_pictures_without_anything_to_compare_are_left_out() -> None:
    """One is void throughout, and of another the object has vanished."""
    part = blots(void=False)
    labels = part.labels.clone()
    labels[3] = VOID
    found = evaluate(colours(), {"test": part._replace(labels=labels)}, strength=STRENGTH, grid_size=4)
    alone = evaluate(colours(), {"test": part}, strength=STRENGTH, grid_size=4)
    others = [0, 1, 2, 4, 5, 6, 7, 8]
    for name, index in (
        ("image_iou", "labelled_index"),
        ("pixel_accuracy", "labelled_index"),
        ("warp_image_iou", "warp_labelled_index"),
        ("warp_equivariance_error", "equivariance_index"),
    ):
        assert found.items[index].tolist() == others
        assert found.items[name] == pytest.approx(alone.items[name][others])
        assert found.metrics[name] == pytest.approx(alone.items[name][others].mean())
    label, gone = torch.zeros(2, 8, 8).long()
    label[2:4, 2:4] = 1
    logits = torch.zeros(CLASSES, 8, 8)
    for nothing in (gone, torch.full_like(gone, VOID)):
        assert compared(logits, nothing, logits, label, 0.5) == []


def test_what_is_void_does_not_count_for_the_equivariance_error() -> None:
    part, net = blots(void=False), Blurred()
    labels = part.labels.clone()
    labels[:, :, 12:] = VOID
    found = evaluate(net, {"test": part._replace(labels=labels)}, strength=STRENGTH, grid_size=4)
    whole = evaluate(net, {"test": part}, strength=STRENGTH, grid_size=4)
    labels = part.labels.clone()
    labels[:, :, :12] = VOID
    other = evaluate(net, {"test": part._replace(labels=labels)}, strength=STRENGTH, grid_size=4)
    squares = [evaluation.items["warp_equivariance_error"] ** 2 for evaluation in (found, other, whole)]
    assert np.abs(squares[0] / squares[1] - 1).min() > 0.01  # each half has an error of its own
    assert squares[2] == pytest.approx((squares[0] + squares[1]) / 2, rel=0.02)  # halves of nearly as many pixels


def test_a_segmenter_by_colour_says_nearly_the_same_at_all_scales() -> None:
    images, labels = embedded_digits(False)
    digits = LabelledDigits(images, labels, n_digits=2, scales=((0.5, 1.0),) * 2, cell_size=42, channels=1)
    series = AtScales(digits, range(20), 4, [0.5, 1.5, 1.0])
    assert series.scales == [1.0, 0.5, 1.5] and len(series) == 12
    assert all(len(set(labels[[item, item + 1]])) == 2 for item in series.items)
    sets = {"test": blots(), "scales": _part(series)}
    found = evaluate(colours(classes=11), sets, warp_items=1)
    assert len(found.items["object_error"]) == 4
    moved = evaluate(Blurred(11), sets, warp_items=1)
    assert found.metrics["object_error"] < moved.metrics["object_error"]
    assert found.metrics["scale_variance"] >= 0 and found.metrics["object_flips"] <= 1


def test_the_variance_over_scales_is_that_of_each_objects_iou() -> None:
    images, labels = embedded_digits(False)
    digits = LabelledDigits(images, labels, n_digits=2, scales=((0.5, 1.0),) * 2, cell_size=42, channels=1)
    part = _part(AtScales(digits, range(9), 3, [0.5, 1.5]))
    net = colours(classes=11)
    by_image = []
    for number in range(9):
        image, label = part.dataset.dataset[number]
        one = blots()._replace(images=image[None], labels=label[None], batches=[[0]])
        by_image.append(evaluate(net, {"test": one}, full=False).metrics["image_iou"])
    expected = np.mean([np.var(by_image[first : first + 3]) for first in (0, 3, 6)])
    found = evaluate(net, {"test": blots(), "scales": part}, warp_items=1).metrics["scale_variance"]
    assert found == pytest.approx(expected, abs=1e-12)


def _part(series: AtScales) -> Part:
    batches = [list(range(3 * first, 3 * first + 3)) for first in range(len(series) // 3)]
    return Part(kind="dense", dataset=Indexed(series), batches=batches, workers=0, groups=series.groups)


def test_where_a_warped_image_shows_a_pixel() -> None:
    """The inverse that is measured with is the exact one: reading there and back comes home."""
    from evaluation.pixels import PixelViews
    from evaluation.views import Judge

    part = blots()
    views = PixelViews(Judge(colours(), grid_size=6, strength=1.0), part.images, part.labels, torch.arange(9), range(9))
    home = evaluate_grid(views.warp, views.inverse_grid.flatten(2).mT).mT.view(9, 2, 24, 24)
    line = torch.linspace(0, 1, 24)
    assert (home[:, 0] - line).abs().max() < 1e-4 and (home[:, 1] - line[:, None]).abs().max() < 1e-4
    assert views.seen.float().mean() > 0.95 and chunks(range(3), 2) == [[0, 1], [2]]
