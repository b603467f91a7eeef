"""What must be true of DEC in every timm family, from one mechanism without code per family."""

import copy
from functools import lru_cache

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from layers.grid import WarpParams, random_warp_params, warp_grid
from models.dec import DECModel, Site, sites_of, with_dec
from tests.models.architectures import ARCHITECTURES, UNHOOKABLE, Architecture, build, random_images

REFUSED = {
    "crossvit_tiny_240": "names .* more than once",
    "hiera_tiny_224": "layout of what arrives at 'blocks.0' could not be proven",
    "pit_ti_224": "It is a tuple of",
    "tnt_s_patch16_224": "could not be proven",
}
ADAPTABLE = [architecture for architecture in ARCHITECTURES if architecture.name not in REFUSED]
GRID_SIZES = (4, 5)

every_architecture = pytest.mark.parametrize("architecture", ADAPTABLE, ids=lambda architecture: architecture.name)


def plain_model(architecture: Architecture) -> nn.Module:
    return built(architecture.name)


@lru_cache(maxsize=1)
def built(name: str) -> nn.Module:
    return build(next(architecture for architecture in ARCHITECTURES if architecture.name == name))


def adapted(architecture: Architecture, *, is_identity: bool = False) -> DECModel:
    model = with_dec(
        copy.deepcopy(plain_model(architecture)),
        [Site(0, GRID_SIZES[0]), Site(1, GRID_SIZES[1])],
        channels=(3, 6, 8),
        kernel_sizes=(3, 3),
        pools=(2, 2),
        input_size=32,
        image_size=architecture.image_size,
    )
    if is_identity:
        make_identity(model)
    return model


@torch.no_grad()
def make_identity(model: DECModel) -> None:
    """A canonicalizer that does not look at its input finds equal entries, hence the warp that changes nothing."""
    for update in model.canonicalizer.module_list:
        update[-2].weight.zero_()
        update[-2].bias.zero_()


def smooth_images(count: int, size: tuple[int, int], seed: int = 1) -> Tensor:
    return random_images(2 * count, size, torch.Generator().manual_seed(seed))[:count]


def test_there_are_enough_of_them():
    assert len(ADAPTABLE) >= 40
    assert len({architecture.family for architecture in ADAPTABLE}) >= 15


@every_architecture
@torch.no_grad()
def test_identity_warps_give_plain_timm_logits(architecture):
    plain, dec = plain_model(architecture), adapted(architecture, is_identity=True)
    for size in filter(None, (architecture.image_size, architecture.non_square)):
        image = smooth_images(4, size)
        expected = plain(image)
        spread = expected.std(0).mean()
        assert spread >= 0.1, "logits that hardly depend on the image would hide an error"
        exact = copy.deepcopy(plain).double()(image.double())
        rounding = (expected - exact).abs().max()  # a few of the families lose more than 1e-4 to float32 alone
        assert (dec(image) - expected).abs().max() <= max(1e-4 * expected.std(), 2 * rounding)
        in_double = copy.deepcopy(dec).double()(image.double())
        assert (in_double - exact).abs().max() <= 1e-9 * exact.std()


@every_architecture
@torch.no_grad()
def test_a_strong_warp_at_either_site_changes_the_logits(architecture):
    model = adapted(architecture)
    image = smooth_images(4, architecture.image_size)
    identity = [WarpParams.identity(4, R) for R in GRID_SIZES]
    expected = model.predict(image, identity)
    for site, R in enumerate(GRID_SIZES):
        phis = list(identity)
        phis[site] = random_warp_params(4, R, 1.0, generator=torch.Generator().manual_seed(site))
        assert (model.predict(image, phis) - expected).abs().mean() > 0.01 * expected.std()


@every_architecture
@torch.no_grad()
def test_an_impulse_arrives_where_the_warp_reads_it(architecture):
    """In the image at q, on the site's warped grid at the p with G(p) = q: axes, order and direction at once."""
    model = adapted(architecture)
    stage = sites_of(plain_model(architecture), architecture.image_size)[0]
    H, W = architecture.image_size
    arrived: list[Tensor] = []
    module = model.backbone.get_submodule(stage.module)
    module.register_forward_pre_hook(lambda _, args: arrived.append(stage.layout.to_grid(args[0], stage.size)))
    # Not symmetric, not the same for x and y, and so mild that a grid of six still reads every token.
    x, y = torch.tensor([0.3, 0.0, 0.15]).expand(1, 4, 3), torch.tensor([0.0, 0.1, 0.3]).expand(1, 4, 3)
    for phi in (WarpParams.identity(1, 4), WarpParams(x, torch.ones(1, 4, 3)), WarpParams(x, y)):
        for y, x in ((0.3, 0.8), (0.7, 0.2), (0.8, 0.7)):
            image = smooth_images(1, (H, W))
            impulse = image.clone()
            side = max(2, min(H, W) // 16)
            top, left = round(y * H) - side // 2, round(x * W) - side // 2
            impulse[..., top : top + side, left : left + side] += 5
            arrived.clear()
            for view in (image, impulse):
                model.predict(view, [phi, WarpParams.identity(1, GRID_SIZES[1])])
            change = (arrived[1] - arrived[0])[0].abs().sum(0)
            at = divmod(int(change.argmax()), stage.size[1])
            reads = warp_grid(phi, stage.size)[0, :, at[0], at[1]]
            for found, expected, length in zip(reads, (x, y), (stage.size[1], stage.size[0]), strict=True):
                centre = (expected * length - 0.5) / (length - 1)  # pixels are counted by their edges, grids by centres
                assert abs(found - centre) <= max(1.5 / (length - 1), 0.1)


@every_architecture
def test_keys_are_timms_and_every_parameter_learns(architecture):
    plain, model = copy.deepcopy(plain_model(architecture)).train(), adapted(architecture).train()
    assert model.backbone.state_dict().keys() == plain.state_dict().keys()
    model.backbone.load_state_dict(plain.state_dict())
    image = smooth_images(4, architecture.image_size)
    for network in (plain, model):
        logits = network(image)
        parts = logits if isinstance(logits, tuple) else (logits,)
        sum(part.square().mean() for part in parts).backward()
    without = {name for name, parameter in plain.named_parameters() if parameter.grad is None}
    assert {name for name, parameter in model.backbone.named_parameters() if parameter.grad is None} == without
    for name, parameter in model.canonicalizer.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@every_architecture
@torch.no_grad()
def test_copies_are_independent(architecture):
    model = adapted(architecture)
    image = smooth_images(2, architecture.image_size)
    expected = model(image)
    ema = ModelEmaV3(model, decay=0.5)
    twin = copy.deepcopy(model)
    for parameter in model.canonicalizer.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model(image), expected)
    torch.testing.assert_close(twin(image), expected, rtol=0, atol=0)
    torch.testing.assert_close(ema.module(image), expected, rtol=0, atol=0)
    ema.update(model)
    assert not torch.equal(ema.module(image), expected)


@every_architecture
@torch.no_grad()
def test_bf16_autocast_is_as_exact_as_without_dec(architecture):
    plain, model = plain_model(architecture), adapted(architecture, is_identity=True)
    image = smooth_images(4, architecture.image_size)
    expected = plain(image)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(image, return_output=True)
        own_error = (plain(image).float() - expected).abs().max()
    assert all(part.dtype == torch.float32 for phi in output.phis for part in phi)
    assert (output.logits.float() - expected).abs().max() <= 2 * own_error + 0.02 * expected.std()


@pytest.mark.parametrize(
    "architecture",
    [architecture for architecture in (*ARCHITECTURES, *UNHOOKABLE) if architecture not in ADAPTABLE],
    ids=lambda architecture: architecture.name,
)
def test_what_cannot_be_adapted_says_why(architecture):
    message = REFUSED.get(architecture.name, "which it does not have|0 times in a forward pass")
    with pytest.raises(ValueError, match=message):
        sites_of(build(architecture), architecture.image_size)
