"""Intersection over union against counting by hand, whatever the batches and the processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.evaluator import evaluate
from evaluation.measures.segmentation import counts
from tests.evaluation.dense_sets import CLASSES, blots, colours
from tests.evaluation.stand_ins import chunks


def confusion(answers: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Label by answer, pixel by pixel."""
    found = np.zeros((CLASSES, CLASSES))
    for answer, label in zip(answers.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if label != 255:
            found[label, answer] += 1
    return found


def iou_of(matrix: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))


def test_mean_iou_is_that_of_one_confusion_matrix() -> None:
    part, net = blots(), colours()
    found = evaluate(net, {"test": part})
    answers = net(part.images).argmax(1)
    per_class = iou_of(confusion(answers, part.labels))
    assert found.metrics["mean_iou"] == pytest.approx(np.nanmean(per_class), abs=1e-12)
    for number, value in enumerate(per_class):
        assert found.metrics.get(f"iou_at_{number}", float("nan")) == pytest.approx(value, abs=1e-12, nan_ok=True)
    by_image = [iou_of(confusion(*pair)) for pair in zip(answers, part.labels, strict=True)]
    labelled = [place for place, values in enumerate(by_image) if not np.isnan(values).all()]
    assert found.items["labelled_index"].tolist() == labelled != [*range(9)]
    expected = [np.nanmean(by_image[place]) for place in labelled]
    assert found.items["image_iou"] == pytest.approx(expected, abs=1e-12)
    correct = ((answers == part.labels).sum((1, 2)) / (part.labels != 255).sum((1, 2)))[labelled].numpy()
    assert found.items["pixel_accuracy"] == pytest.approx(correct, abs=1e-6)
    assert "accuracy" not in found.metrics and "warp_invariance_error" not in found.metrics


def test_nothing_depends_on_batches_or_processes() -> None:
    part, net = blots(), colours()
    expected = evaluate(net, {"test": part})
    one = evaluate(net, {"test": part._replace(batches=chunks(range(9), 1))})
    assert one.metrics == pytest.approx(expected.metrics, abs=1e-6)  # of softmax; counts are equal
    assert all(one.metrics[name] == value for name, value in expected.metrics.items() if "iou" in name)

    parts: list[list[dict]] = [[], []]
    for rank, noted in enumerate(parts):  # each process alone, noting what it would send
        evaluate(net, {"test": part}, share=(rank, 2), gather=lambda columns, n=noted: n.append(columns) or columns)
    sent = iter(zip(*parts, strict=True))

    def joined(columns):
        return {name: torch.cat([one[name] for one in next_pair]) for next_pair in [next(sent)] for name in columns}

    assert evaluate(net, {"test": part}, share=(0, 2), gather=joined).metrics == expected.metrics


def test_a_class_that_is_nowhere_does_not_count() -> None:
    label = torch.tensor([[[0, 0], [1, 255]]])
    answer = torch.tensor([[[0, 1], [1, 3]]])
    found = counts(answer, label, 4)
    assert found.tolist() == [[[1, 1, 0, 0], [1, 2, 0, 0], [2, 1, 0, 0]]]


def test_labels_are_warped_with_their_images() -> None:
    """A segmenter that knows every colour knows it where a warp puts it, as far as the nearest pixel says."""
    net, part = colours(), blots(void=False)
    part = part._replace(labels=net(part.images).argmax(1))
    found = evaluate(net, {"test": part}).metrics
    assert found["mean_iou"] == 1
    assert 0.85 < found["warp_mean_iou"] < 1


def test_a_label_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="a label is 7; expected 0 to 3, or 255 for none"):
        counts(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 7), 4)


def test_an_answer_that_is_no_map_is_refused() -> None:
    with pytest.raises(ValueError, match=r"predict returned shape \(4, 1\); expected logits of \(4, classes, "):
        evaluate(lambda image: image.mean((2, 3)), {"test": blots()})
