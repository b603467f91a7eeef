"""The canonicalisation baseline: its list of candidates, its choice, and the gradient through the choice."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from layers.grid import WarpParams, random_warp_params
from layers.monotone import inverse_monotone_warp, monotone_warp
from models.baselines.canonicalized import CandidateScorer, CanonicalizedModel, candidate_warps, with_candidates

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def candidates(count: int, grid_size: int = 4) -> WarpParams:
    return random_warp_params(count, grid_size, 1.0, generator=torch.Generator().manual_seed(1))


def decided(backbone: nn.Module, warps: WarpParams, **options) -> CanonicalizedModel:
    """A model whose scores are far enough apart that rounding decides nothing."""
    model = CanonicalizedModel(backbone, warps, **options)
    with torch.no_grad():
        for parameter in model.scorer.parameters():
            parameter.mul_(5)
    return model


def linear_backbone(classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(3 * 36, classes))


def one(warps: WarpParams, index: int) -> WarpParams:
    return WarpParams(warps.x[index : index + 1], warps.y[index : index + 1])


@pytest.mark.parametrize("name", ["mnist", "imagenet"])
def test_candidates_are_those_of_the_reference(name):
    with np.load(GOLDEN / f"candidates_{name}.npz") as golden:
        found = candidate_warps(golden["values"].tolist(), int(golden["limit"]))
        assert np.array_equal(found.x, golden["phi_x"])
        assert np.array_equal(found.y, golden["phi_y"])


def test_candidates_of_another_grid_change_three_intervals():
    found = candidate_warps((1, 0.5), 4, grid_size=5)
    assert found.x.shape == (16, 5, 4)
    assert (found.x[..., 3:] == 1).all()
    assert found.x[-1, -1].tolist() == [0.5, 0.5, 0.5, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 0}, "limit is 0; expected 1 to 256, the number of profiles"),
        ({"limit": 257}, "limit is 257"),
        ({"values": (1.0,)}, "at least two numbers, all different"),
        ({"values": (1, 1)}, "all different"),
        ({"values": (1, float("nan"))}, "finite"),
    ],
)
def test_candidates_refuse(settings, message):
    with pytest.raises(ValueError, match=message):
        with_candidates(linear_backbone(), **settings)


def test_candidates_refuse_a_small_grid():
    with pytest.raises(ValueError, match="grid_size is 4; expected at least 5"):
        candidate_warps((1, 0.5), 2, grid_size=4)


@pytest.mark.parametrize(("channels", "count"), [((3, 4, 1), 149), ((3, 8, 1), 297)])
def test_scorer_has_the_published_size(channels, count):
    scorer = CandidateScorer(channels)
    assert sum(parameter.numel() for parameter in scorer.parameters()) == count
    assert scorer(torch.rand(2, 3, 20, 24)).shape == (2,)


def test_scorer_pads_with_zeros_and_pools_between_its_layers():
    scorer = CandidateScorer()
    first, last = scorer.layers
    image = torch.rand(2, 3, 16, 24)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    hidden = torch.nn.functional.conv2d(padded, first.weight, first.bias).relu().unfold(2, 4, 4).unfold(3, 4, 4)
    pooled = torch.nn.functional.pad(hidden.amax((4, 5)), (1, 1, 1, 1))
    expected = torch.nn.functional.conv2d(pooled, last.weight, last.bias)[:, 0].mean((1, 2))
    torch.testing.assert_close(scorer(image), expected)


@pytest.mark.parametrize(("batch", "count"), [(5, 3), (3, 7), (4, 4), (1, 6)])
def test_every_image_meets_every_candidate(batch, count):
    model, warps = decided(linear_backbone(), candidates(count)), candidates(count)
    image = torch.rand(batch, 3, 24, 20)
    with torch.no_grad():
        output = model(image, return_output=True)
        for b in range(batch):
            views = [monotone_warp(image[b : b + 1], one(warps, w)) for w in range(count)]
            scores = torch.cat([model.scorer(view) for view in views])
            torch.testing.assert_close(output.scores[b], scores)
            best = int(scores.argmax())
            torch.testing.assert_close(output.logits[b : b + 1], model.backbone(views[best]))
            assert torch.equal(output.phi.x[b], warps.x[best])
            assert torch.equal(output.phi.y[b], warps.y[best])


def test_images_choose_for_themselves_whatever_their_batch_mates():
    model = decided(linear_backbone(), candidates(8))
    image = torch.rand(9, 3, 24, 24)
    with torch.no_grad():
        together = model(image, return_output=True)
        assert len(together.scores.argmax(1).unique()) > 1
        torch.testing.assert_close(torch.cat([model(part) for part in image.split(2)]), together.logits)
        torch.testing.assert_close(model(image.flip(0)).flip(0), together.logits)


def gradients_by_definition(model: CanonicalizedModel, image: Tensor, loss_of) -> list[Tensor]:
    """Of a model that keeps all candidates: the image is their sum, weighted by one-hot + softmax - softmax."""
    warps, batch = WarpParams(model.candidates_x, model.candidates_y), len(image)
    views = torch.stack(
        [
            monotone_warp(image, WarpParams(x.expand(batch, -1, -1), y.expand(batch, -1, -1)))
            for x, y in zip(*warps, strict=True)
        ],
        dim=1,
    )
    scores = model.scorer(views.flatten(0, 1)).view(batch, -1)
    shares = scores.softmax(1)
    weights = nn.functional.one_hot(scores.argmax(1), scores.shape[1]) + shares - shares.detach()
    loss = loss_of(model.backbone((weights[:, :, None, None, None] * views).sum(1)))
    return list(torch.autograd.grad(loss, [image, *model.parameters()]))


def test_gradients_are_those_of_the_straight_through_sum():
    model = decided(linear_backbone(), candidates(6)).double()
    image = torch.rand(4, 3, 24, 24, dtype=torch.float64, requires_grad=True)

    def loss_of(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, torch.arange(4))

    found = torch.autograd.grad(loss_of(model(image)), [image, *model.parameters()])
    for ours, expected in zip(found, gradients_by_definition(model, image, loss_of), strict=True):
        torch.testing.assert_close(ours, expected)
    assert all(gradient.abs().max() > 0 for gradient in found)


def test_gradient_reaches_the_scorer_through_a_timm_backbone():
    model = CanonicalizedModel(timm.create_model("test_vit", pretrained=False, img_size=48), candidates(4))
    model(torch.rand(2, 3, 48, 48)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.scorer.parameters())
    assert {name.removeprefix("backbone.") for name in model.state_dict() if name.startswith("backbone.")} == set(
        model.backbone.state_dict()
    )


def kept_elements(model: nn.Module, image: Tensor) -> int:
    """How much memory a forward pass keeps for its backward pass, in elements of distinct tensors."""
    kept: dict[int, Tensor] = {}

    def keep(part: Tensor) -> Tensor:
        return kept.setdefault(part.data_ptr(), part)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
        model(image)
    return sum(part.numel() for part in kept.values())


def test_learning_keeps_no_warped_batch_per_candidate():
    image = torch.rand(2, 3, 32, 32)
    few, many = (kept_elements(CanonicalizedModel(linear_backbone(), candidates(count)), image) for count in (4, 20))
    assert many - few < image.numel()


def test_identity_alone_gives_the_plain_logits():
    backbone = timm.create_model("test_vit", pretrained=False, img_size=48).eval()
    model = CanonicalizedModel(backbone, WarpParams.identity(1, 8))
    image = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(model(image), backbone(image), rtol=0, atol=1e-5)
    assert model.num_classes == backbone.num_classes
    assert model.pretrained_cfg == backbone.pretrained_cfg


def test_the_candidate_that_scores_best_is_chosen_on_purpose():
    image = torch.zeros(1, 3, 33, 33)
    image[..., :11] = 1  # reading wide on the left shrinks the bright band, reading narrow there enlarges it
    narrow, wide = torch.tensor([[[-1.0, 0, 0]]]), torch.tensor([[[1.0, 0, 0]]])
    model = CanonicalizedModel(
        linear_backbone(),
        WarpParams(torch.cat([wide, narrow]), torch.ones(2, 1, 3)),
        channels=(3, 1),
        kernel_sizes=(1,),
    )
    nn.init.ones_(model.scorer.layers[0].weight)  # the brightest version wins
    assert torch.equal(model(image, return_output=True).phi.x, narrow)


def test_restore_undoes_the_chosen_warp_on_dense_outputs():
    warps = WarpParams(*(part[:, :1] for part in candidates(5)))  # separable, where the inverse is exact
    image = nn.functional.interpolate(torch.rand(3, 3, 5, 5), size=(40, 40), mode="bicubic")
    plain, restoring = (decided(nn.Identity(), warps, restore=restore) for restore in (False, True))
    restoring.load_state_dict(plain.state_dict())
    with torch.no_grad():
        warped, restored = plain(image, return_output=True), restoring(image)
    torch.testing.assert_close(restored, inverse_monotone_warp(warped.logits, warped.phi))
    assert (restored - image).abs().mean() < 0.1 * (warped.logits - image).abs().mean()


def test_restore_refuses_logits_of_whole_images():
    model = CanonicalizedModel(linear_backbone(), candidates(2), restore=True)
    with pytest.raises(ValueError, match=r"restore=True undoes warps of dense outputs.*\(2, 5\)"):
        model(torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize("shape", [(3, 16, 16), (0, 3, 16, 16), (2, 1, 16, 16), (2, 3, 16, 3)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        CanonicalizedModel(linear_backbone(), candidates(2))(torch.rand(shape))


def test_labels_are_no_images():
    with pytest.raises(TypeError, match="int64; expected a floating dtype"):
        CanonicalizedModel(linear_backbone(), candidates(2))(torch.ones(2, 3, 16, 16, dtype=torch.long))


@pytest.mark.parametrize(
    ("channels", "kernel_sizes", "message"),
    [
        ((3, 4, 1), (3,), "3 channels and 1 kernel_sizes"),
        ((3, 4, 2), (3, 3), "1 for the last layer"),
        ((3, 4, 1), (3, 2), "expected odd numbers"),
    ],
)
def test_scorers_that_cannot_be_built_are_refused(channels, kernel_sizes, message):
    with pytest.raises(ValueError, match=message):
        CandidateScorer(channels, kernel_sizes)
