"""Predictions leave nothing behind, and pairs of them are compared as the formula says."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import evaluation.predictions
from evaluation.predictions import Pairs
from tests.evaluation.stand_ins import in_batches, said, small_net, smooth_images


def test_modes_are_restored_module_by_module():
    net = small_net().train()
    net[1].eval()  # as a training loop freezes statistics
    before = [module.training for module in net.modules()]
    seen = []
    net.register_forward_pre_hook(lambda module, _: seen.append(any(part.training for part in module.modules())))
    said(net, in_batches(smooth_images(5), 2))
    assert seen == [False] * 3
    assert [module.training for module in net.modules()] == before

    def broken():
        yield smooth_images(2), torch.zeros(2)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        said(net, broken())
    assert [module.training for module in net.modules()] == before


def test_results_are_plain_numbers_in_the_order_of_the_loader():
    net, images = small_net().double().eval(), smooth_images(5).double()
    logits, labels = said(net, in_batches(images, 2))
    assert logits.dtype == torch.float32
    assert logits.grad_fn is None and not logits.requires_grad
    torch.testing.assert_close(logits, net(images).float().detach())
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_a_model_may_differentiate_inside_its_forward_pass():
    def predict(image):
        with torch.enable_grad():
            shift = torch.zeros(len(image), 3, requires_grad=True)
            energy = (shift - image.flatten(1)[:, :3]).square().sum()
            (slope,) = torch.autograd.grad(energy, shift, create_graph=True)
        return slope

    logits, _ = said(predict, in_batches(smooth_images(3), 3))
    assert not logits.requires_grad
    torch.testing.assert_close(logits, -2 * smooth_images(3).flatten(1)[:, :3])


def test_the_global_generators_are_left_alone():
    loader = DataLoader(TensorDataset(smooth_images(4), torch.zeros(4)), batch_size=2)

    def predict(image):
        return torch.rand(len(image), 3) + random.random() + np.random.rand()

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    said(predict, loader)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert all(np.array_equal(old, new) for old, new in zip(before[2], np.random.get_state(), strict=True))


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda image: (image, image), "predict returned tuple for 2 images"),
        (lambda image: image, r"shape \(2, 1, 24, 24\) for 2 images"),
        (nn.Flatten(0, 2), r"shape \(48, 24\) for 2 images; expected logits of \(2, classes\)"),
    ],
)
def test_what_is_no_logits_is_refused(predict, message):
    with pytest.raises(ValueError, match=message):
        said(predict, in_batches(smooth_images(4), 2))


def test_errors_and_flips_by_hand():
    def logits(*shares):
        return torch.tensor(shares).log()

    pairs = Pairs(logits([0.8, 0.2], [0.5, 0.5]), logits([0.2, 0.8], [0.9, 0.1]))
    assert pairs.errors().tolist() == pytest.approx([0.6 * 2**0.5, 0.4 * 2**0.5])
    assert pairs.errors(relative=True).tolist() == pytest.approx([0.6 * 2**0.5 / 0.68**0.5, 0.4 * 2**0.5 / 0.5**0.5])
    assert pairs.flips().tolist() == [1.0, 0.0]
    # At T = 0.5 shares are squared: 0.8, 0.2 becomes 16/17, 1/17.
    assert pairs.errors(0.5).tolist()[0] == pytest.approx(15 / 17 * 2**0.5)
    with pytest.raises(ValueError, match="temperature is 0"):
        pairs.errors(0)


def test_several_changes_per_item_are_averaged_and_chunks_do_not_matter(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    clean, changed = torch.randn(8, 5, generator=generator), torch.randn(8, 3, 5, generator=generator)
    pairs = Pairs(clean, changed)
    apart = [Pairs(clean, changed[:, draw]) for draw in range(3)]
    torch.testing.assert_close(pairs.errors(2.0), torch.stack([pair.errors(2.0) for pair in apart]).mean(0))
    torch.testing.assert_close(pairs.flips(), torch.stack([pair.flips() for pair in apart]).mean(0))
    whole = pairs.errors(), pairs.flips()
    monkeypatch.setattr(evaluation.predictions, "CHUNK", 3)
    assert torch.equal(pairs.errors(), whole[0]) and torch.equal(pairs.flips(), whole[1])
