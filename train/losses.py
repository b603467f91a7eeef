"""The losses of one batch, as pure functions. Means run over images, so parts of a batch add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.frame import Frame
from layers.grid import WarpParams, unchecked_evaluate_grid, unchecked_knot_grid
from layers.sampling import sample_bilinear

EPSILON = 1e-8
POINTS = 9  # per axis, at which reading positions are compared
FINE_POINTS = 32  # the same, where they lie on an object that may fill a part of the image
ROUNDING = 0.1  # pixels below which a distance is nearly squared, so that it has a gradient at 0
DIFFERENCE_CAP = 0.01  # beyond this squared distance, the warps of two views are different enough

Phis = Sequence[WarpParams]


def kl_loss(logits: Tensor, warped: Tensor) -> Tensor:
    """KL divergence of the prediction on the warped image from that on the image; the gradient passes through both."""
    share, other = logits.softmax(dim=1), warped.softmax(dim=1)
    return (share * ((share + EPSILON).log() - (other + EPSILON).log())).sum(dim=1).mean()


def mse_loss(logits: Tensor, warped: Tensor) -> Tensor:
    """Mean squared difference of the logits."""
    return F.mse_loss(warped, logits)


def js_loss(logits: Tensor, warped: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the two predictions (the original gave logits to it, which made NaN)."""
    log_share, log_other = logits.log_softmax(dim=1), warped.log_softmax(dim=1)
    log_middle = torch.logaddexp(log_share, log_other) - torch.log(torch.tensor(2.0, device=logits.device))
    divergences = [F.kl_div(log_middle, one, reduction="batchmean", log_target=True) for one in (log_share, log_other)]
    return (divergences[0] + divergences[1]) / 2


EQUIVARIANCE_LOSSES = {"kl": kl_loss, "mse": mse_loss, "js": js_loss}


def phi_difference_loss(phis: Phis, warped_phis: Phis) -> Tensor:
    """Pushes the warps of an image and of its warped version apart: minus the capped distance, summed over sites."""
    distances = [
        (unchecked_knot_grid(phi) - unchecked_knot_grid(other)).square().sum((1, 2, 3)).clamp(max=DIFFERENCE_CAP)
        for phi, other in zip(phis, warped_phis, strict=True)
    ]
    return -torch.stack(distances).mean(dim=1).sum()


def phi_prior_loss(phis: Phis) -> Tensor:
    """Keeps warps near the identity: mean squared distance of their knots from it, summed over sites."""
    distances = []
    for phi in phis:
        knots = unchecked_knot_grid(phi)
        identity = WarpParams.identity(1, knots.shape[-1], device=knots.device, dtype=knots.dtype)
        distances.append((knots - unchecked_knot_grid(identity)).square().mean())
    return torch.stack(distances).sum()


def consistency_loss(phis: Phis, warped_phis: Phis, warp: WarpParams, frames: Sequence[Frame] | None = None) -> Tensor:
    """Makes an image and its warped version have one canonical form; no label and no backbone is needed for that.

    An image's canonical form reads it at G(p). The warped image's reads it at W(G'(p)), through the warp W that is
    known here. The squared distance of the two, over that between G'(p) and W(G'(p)): 0 where the canonicalizer undoes
    all that the warp did, and 1 where it finds one warp, whichever, for every image. Mean over images, sum over sites.

    Args:
        phis: of the images, one pair per site.
        warped_phis: of the warped images.
        warp: W, which acts on the images as the model is given them.
        frames: per site, where its positions lie in those images, ``DECModel.frames``: G and G' read in the [0, 1] of
            their site, and W in that of the image. None where all of them share one [0, 1].
    """
    points = _points(warp)
    ratios = []
    for phi, other, frame in zip(phis, warped_phis, frames or [Frame()] * len(phis), strict=True):
        own, before = (frame.to_whole(unchecked_evaluate_grid(found, points)) for found in (phi, other))
        after = unchecked_evaluate_grid(warp, before)
        moved = (after - before).square().sum((1, 2))
        ratios.append((own - after).square().sum((1, 2)) / (moved + EPSILON))
    return torch.stack(ratios).mean(dim=1).sum()


def undo_loss(phis: Phis, warp: WarpParams, frames: Sequence[Frame], size: tuple[int, int]) -> Tensor:
    """What is left of a known warp W: the distance, in pixels, of W(G(p)) from p.

    Args:
        phis: found for the warped images, one pair per site.
        warp: W.
        frames: per site, where its positions lie in the images.
        size: (H, W) of the images.
    """
    points, distances = _points(warp), []
    for phi, frame in zip(phis, frames, strict=True):
        read = _read_at(points, phi, frame, warp)
        distances.append(_pixels_apart(read, frame.to_whole(points), size).mean(1))
    return torch.stack(distances).mean(dim=1).sum()


def align_loss(
    phis: Phis, warp: WarpParams, place: Tensor, detail: Tensor, frames: Sequence[Frame], size: tuple[int, int]
) -> Tensor:
    """How far, in pixels, a member is read from where it shows what its sibling shows there.

    The sibling shows at p what the image shows at T(p), and the member is the image, read at W(q). So its canonical
    form, which reads the member at G(p), is the sibling where W(G(p)) = T(p). Positions count by what the sibling has
    of detail there, and not at all where the image does not show it.

    Args:
        phis: found for the members, one pair per site.
        warp: W.
        place: (B, 2, 2), scale and offset of T, each of x and y.
        detail: (B, 1, H, W), of the siblings.
        frames: per site, where its positions lie in the images.
        size: (H, W) of the images.
    """
    points, distances = _points(warp, FINE_POINTS), []
    for phi, frame in zip(phis, frames, strict=True):
        at = frame.to_whole(points)
        wanted = at * place[:, :1] + place[:, 1:]
        read = _read_at(points, phi, frame, warp)
        is_shown = ((wanted >= 0) & (wanted <= 1)).all(-1)
        weight = sample_bilinear(detail.to(at.dtype), at.mT[..., None])[:, 0, :, 0] * is_shown
        distances.append((weight * _pixels_apart(read, wanted, size)).sum(1) / (weight.sum(1) + EPSILON))
    return torch.stack(distances).mean(dim=1).sum()


def rest_loss(phis: Phis, frames: Sequence[Frame], size: tuple[int, int], is_at_rest: Tensor) -> Tensor:
    """The distance, in pixels, that positions move in the images that need no warp, (B,); in others it counts as 0."""
    distances = []
    for phi, frame in zip(phis, frames, strict=True):
        points = _points(phi)
        read = frame.to_whole(unchecked_evaluate_grid(phi, points))
        moved = _pixels_apart(read, frame.to_whole(points), size).mean(1)
        distances.append(moved * is_at_rest)
    return torch.stack(distances).mean(dim=1).sum()


def pixel_loss(image: Tensor, other: Tensor, sizes: int) -> Tensor:
    """Mean squared difference of two batches of images, added up over sizes that halve."""
    difference, total = image - other, image.new_zeros(())
    for number in range(sizes):
        total = total + (F.avg_pool2d(difference, 2**number) if number else difference).square().mean()
    return total


def agreement_loss(forms: Sequence[Tensor], images: Sequence[Tensor], floor: float) -> Tensor:
    """How far two canonical forms differ, and ``floor`` times the variance that they lack beside their two images.

    Both count relative to the variance of the images: forms that are flat agree, and cost ``floor``.
    """
    wanted = torch.stack([image.flatten(1).var(1) for image in images])
    found = torch.stack([form.flatten(1).var(1) for form in forms])
    apart = (forms[0] - forms[1]).square().flatten(1).mean(1) / wanted.mean(0).clamp_min(EPSILON)
    lacking = ((wanted - found).clamp_min(0) / wanted.clamp_min(EPSILON)).mean(0)
    return (apart + floor * lacking).mean()


def uniqueness_loss(before: Tensor, after: Tensor, warped_before: Tensor, warped_after: Tensor) -> Tensor:
    """Energies, (B,), of two views: far apart before the inner loop, equal after it."""
    return (warped_after - after).square().mean() - 2 * (warped_before - before).square().mean()


def _points(phi: WarpParams, count: int = POINTS) -> Tensor:
    """(B, N, 2), a lattice over the whole image for each of B warps."""
    line = torch.linspace(0, 1, count, device=phi.x.device, dtype=torch.promote_types(phi.x.dtype, torch.float32))
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1).expand(len(phi.x), -1, -1)


def _read_at(points: Tensor, phi: WarpParams, frame: Frame, warp: WarpParams) -> Tensor:
    """Where the canonical form of a member reads the image that the member was made of by a warp: W(G(p))."""
    return unchecked_evaluate_grid(warp, frame.to_whole(unchecked_evaluate_grid(phi, points.to(phi.x.dtype))))


def _pixels_apart(points: Tensor, others: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, N) distances of positions in an image of this (H, W), in pixels."""
    sides = torch.tensor([size[1] - 1, size[0] - 1], device=points.device, dtype=points.dtype)
    squares = ((points - others) * sides).square().sum(-1)
    return (squares + ROUNDING**2).sqrt() - ROUNDING


def halves(phis: Phis) -> tuple[list[WarpParams], list[WarpParams]]:
    """The warps of the first and of the second half of a batch."""
    pairs = [(phi.x.chunk(2), phi.y.chunk(2)) for phi in phis]
    return [WarpParams(x[0], y[0]) for x, y in pairs], [WarpParams(x[1], y[1]) for x, y in pairs]
