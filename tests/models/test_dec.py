"""What an adapted model computes: restored stages, canonicalized features, warps that no batch mate changes."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from layers.fixed_point import FixedPointSolver
from layers.grid import WarpParams
from layers.layout import Layout
from layers.monotone import inverse_monotone_warp, monotone_warp
from layers.spec import DEC, Solver
from models.dec import DECModel, Site, sites_of, with_dec
from tests.models.adapting import (
    BY_NAME,
    LAYOUTS,
    SITES,
    SMALL,
    SWIN,
    adapted,
    assert_same_gradients,
    built,
    every_layout,
    gradients,
    hooks_of,
    images,
    plain,
    random_phis,
)
from tests.models.architectures import build


def smooth_map(count: int, channels: int, size: tuple[int, int]) -> Tensor:
    """Half a wave along each axis, different in every image and channel."""
    x, y = (torch.linspace(0, 3, n) for n in (size[1], size[0]))
    phase = torch.rand(count, channels, 1, 1, generator=torch.Generator().manual_seed(3)) * 6
    return torch.sin(x + phase) + torch.cos(y[:, None] + 2 * phase)


def laid_out(layout: Layout, grid: Tensor) -> Tensor:
    """(B, C, H, W) as a feature of this layout, with prefix tokens that nothing on the grid equals."""
    if layout.order == "NCHW":
        return grid
    if layout.order == "NHWC":
        return grid.permute(0, 2, 3, 1)
    prefix = torch.randn(len(grid), layout.num_prefix_tokens, grid.shape[1])
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)


def with_idle_stage(name: str, sites: list[Site]) -> tuple[DECModel, nn.Module, Tensor]:
    """A model whose stage 0 is the identity, that stage, and a smooth map of the size that arrives there."""
    network = plain(name)
    stage = sites_of(network, (96, 96))[0]
    assert stage.layout == LAYOUTS[name]
    parent, _, child = stage.module.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    model = adapted(name, sites, backbone=network)
    return model, model.backbone.get_submodule(stage.module), smooth_map(2, stage.channels, stage.size)


def separable_phi(count: int, grid_size: int = 4) -> WarpParams:
    generator = torch.Generator().manual_seed(4)
    return WarpParams(*0.6 * torch.rand(2, count, 1, grid_size - 1, generator=generator))


@every_layout
@torch.no_grad()
def test_a_feature_that_the_stage_leaves_alone_comes_back_from_a_restored_site(name):
    layout, phi = LAYOUTS[name], separable_phi(2)
    error = {}
    for is_restored in (False, True):
        model, stage, grid = with_idle_stage(name, [Site(0, 4, is_restored)])
        feature, seen = laid_out(layout, grid), []
        stage.register_forward_pre_hook(lambda _, args, feature=feature: (feature,), prepend=True)
        stage.register_forward_hook(lambda _, args, output, seen=seen: seen.append(output))
        model.predict(images(), [phi])
        found = layout.to_grid(seen[0], grid.shape[2:])
        warped = monotone_warp(grid, phi)
        torch.testing.assert_close(found, inverse_monotone_warp(warped, phi) if is_restored else warped)
        error[is_restored] = (found - grid).abs().mean()
        if layout.order == "tokens":
            assert torch.equal(seen[0][:, :1], feature[:, :1])
    assert error[True] < 0.25 * error[False] and error[False] > 0.05


@every_layout
@torch.no_grad()
def test_a_warp_of_the_image_is_restored_where_the_first_stage_begins_and_before_its_own_warp(name):
    layout, phi, own = LAYOUTS[name], separable_phi(2), random_phis(2, 5)[0]
    for is_restored in (False, True):
        for order in (slice(None), slice(None, None, -1)):
            sites = [Site("image", 4, is_restored), Site(0, 5)][order]
            model, stage, grid = with_idle_stage(name, sites)
            warped = monotone_warp(grid, phi)
            feature, seen = laid_out(layout, warped), []
            stage.register_forward_pre_hook(lambda _, args, feature=feature: (feature,), prepend=True)
            stage.register_forward_hook(lambda _, args, output, seen=seen: seen.append(output))
            identity = WarpParams.identity(2, 5)
            for second in (identity, own):
                model.predict(images(), [phi, second][order])
            back = inverse_monotone_warp(warped, phi) if is_restored else warped
            for found, second in zip(seen, (identity, own), strict=True):
                torch.testing.assert_close(layout.to_grid(found, grid.shape[2:]), monotone_warp(back, second))
            if is_restored:
                assert (back - grid).abs().mean() < 0.25 * (warped - grid).abs().mean()


@torch.no_grad()
def test_an_input_site_warps_before_the_preprocessing_and_an_image_site_behind_it():
    """What a warp enlarges keeps its detail: the resized image of the warped one, and not the other way round."""
    preprocess = nn.Upsample(size=(96, 96), mode="bilinear")
    first, second = random_phis(2, 4, 5)
    image = images(2, (160, 160))
    model = adapted(sites=[Site(0, 4), Site("image", 5), Site("input", 4)], preprocess=preprocess)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.predict(image, [WarpParams.identity(2, 4), second, first])
    expected = monotone_warp(preprocess(monotone_warp(image, first)), second)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=0)


@torch.no_grad()
def test_warps_of_input_and_image_are_undone_last_one_first():
    phis = [separable_phi(2), random_phis(2, 5)[0]]
    model, stage, grid = with_idle_stage("test_convnext", [Site("input", 4, True), Site("image", 5, True)])
    seen = []
    stage.register_forward_pre_hook(lambda _, args: (grid,), prepend=True)
    stage.register_forward_hook(lambda _, args, output: seen.append(output))
    model.predict(images(), phis)
    torch.testing.assert_close(seen[0], inverse_monotone_warp(inverse_monotone_warp(grid, phis[1]), phis[0]))


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
@torch.no_grad()
def test_tokens_of_equal_number_and_swapped_sides_are_warped_on_their_own_grid(size):
    model = adapted("test_vit2", [Site(0, 5)])
    layout, (phi,) = Layout("tokens", model.backbone.num_prefix_tokens), random_phis(2, 5)
    at = size[0] // 16, size[1] // 16
    grid = smooth_map(2, 64, at)
    seen = []
    stage = model.backbone.blocks[0]
    stage.register_forward_pre_hook(lambda _, args: (laid_out(layout, grid),), prepend=True)
    stage.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.predict(images(2, size), [phi])
    torch.testing.assert_close(layout.to_grid(seen[0], at), monotone_warp(grid, phi))


def test_dropped_tokens_are_refused_in_training_and_no_matter_outside_it():
    backbone = build(BY_NAME["deit_tiny_patch16_224"], patch_drop_rate=0.5)
    model = adapted("deit_tiny_patch16_224", [Site(0, 4)], backbone=backbone)
    assert model(images()).shape == (2, 10)
    with pytest.raises(ValueError, match="tokens that are dropped or merged cannot be warped"):
        model.train()(images())


# Features of timm's interface


def hooked_by_hand(name: str, phis: list[WarpParams], sites: tuple[Site, ...]) -> nn.Module:
    """A plain network with warps put before its stages, one hook each."""
    network = plain(name)
    stages = sites_of(network, BY_NAME[name].image_size)
    for site, phi in zip(sites, phis, strict=True):
        if site.stage != "image":
            module, layout, at = stages[site.stage].module, stages[site.stage].layout, stages[site.stage].size

            def warp(_, args, layout=layout, at=at, phi=phi):
                return (layout.on_grid(partial(monotone_warp, phi=phi), args[0], at),)

            network.get_submodule(module).register_forward_pre_hook(warp)
    return network


@pytest.mark.parametrize("condition", ["image", "feature"])
@every_layout
@torch.no_grad()
def test_every_way_to_features_is_canonicalized(name, condition):
    image = images()
    model = adapted(name, condition=condition)
    output = model(image, return_output=True)
    network = hooked_by_hand(name, output.phis, SITES)
    warped = monotone_warp(image, output.phis[0])
    same = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    same(output.logits, network(warped))
    assert (output.logits - built(name)(image)).abs().max() > 0.05
    features = model.forward_features(image)
    same(features, network.forward_features(warped))
    same(model.forward_head(features), output.logits)
    same(model.forward_head(features, pre_logits=True), network.forward_head(features, pre_logits=True))
    same(model.forward_intermediates(image), network.forward_intermediates(warped))
    for options in ({"indices": [0, 1]}, {"indices": [1], "stop_early": True}):
        found = model.forward_intermediates(image, intermediates_only=True, **options)
        same(found, network.forward_intermediates(warped, intermediates_only=True, **options))


@pytest.mark.parametrize("condition", ["image", "feature"])
@torch.no_grad()
def test_sites_behind_an_early_stop_are_not_missed(condition):
    model = adapted(sites=[Site(2, 4), Site(4, 4)], condition=condition)
    early = partial(model.forward_intermediates, images(), intermediates_only=True)
    expected = built("test_vit").forward_intermediates(images(), indices=[1], intermediates_only=True)
    torch.testing.assert_close(early(indices=[1], stop_early=True), expected)
    torch.testing.assert_close(early([1], False, False, True), expected)
    assert [part.shape for part in early(indices=[1, 3], stop_early=True)] == [expected[0].shape] * 2
    assert [site.visit for site in model.sites] == [None] * 2


# What a forward returns


@pytest.mark.parametrize("condition", ["image", "feature"])
@torch.no_grad()
def test_the_output_tells_the_warps_that_make_the_logits(condition):
    model = adapted(condition=condition)
    output = model(images(3), return_output=True)
    assert [tuple(part.shape) for phi in output.phis for part in phi] == [(3, R, R - 1) for R in (4, 4, 5, 5, 4, 4)]
    assert output.residual.shape == (3, 3) and (output.residual >= 0).all()
    torch.testing.assert_close(model(images(3)), output.logits, rtol=0, atol=0)
    torch.testing.assert_close(model.predict(images(3), output.phis), output.logits, rtol=1e-5, atol=1e-5)
    swapped = [output.phis[2], output.phis[1], output.phis[0]]
    assert (model.predict(images(3), swapped) - output.logits).abs().max() > 1e-3


@pytest.mark.parametrize("condition", ["image", "feature"])
@torch.no_grad()
def test_warps_alone_need_the_backbone_only_where_they_depend_on_it(condition):
    model, calls = adapted(condition=condition), []
    expected = model(images(3), return_output=True)
    model.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    found = model(images(3), warps_only=True)
    assert found.logits is None and len(calls) == (condition == "feature")
    torch.testing.assert_close(found.phis, expected.phis, rtol=0, atol=0)
    torch.testing.assert_close(found.residual, expected.residual, rtol=0, atol=0)
    assert [site.visit for site in model.sites] == [None] * 3


def test_warps_alone_have_the_gradient_that_they_have_with_the_logits():
    model, found = adapted().double(), []
    for options in ({"warps_only": True}, {"return_output": True}):
        model.zero_grad()
        sum(phi.x.square().mean() for phi in model(images().double(), **options).phis).backward()
        found.append({name: grad for name, grad in gradients(model).items() if grad.abs().max() > 0})
    assert found[0] and all(name.startswith("canonicalizer.") for name in found[0])
    assert_same_gradients(*found)


@pytest.mark.parametrize("condition", ["image", "feature"])
def test_a_solver_of_none_is_the_published_one(condition):
    states = []
    for options in ({}, {"solver": None}):
        model = adapted(condition=condition, **options)
        assert vars(model.canonicalizer.solver) == vars(FixedPointSolver())
        states.append(model(images()))
    assert torch.equal(*states)
    changed = with_dec(plain(), DEC(sites=SITES[1:], solver=Solver(max_steps=9), **SMALL), solver=None)
    assert changed.canonicalizer.solver.max_steps == 5


@pytest.mark.parametrize("condition", ["image", "feature"])
def test_a_loss_on_a_warp_teaches_the_network_of_its_site(condition):
    model = adapted(condition=condition)
    output = model(images(), return_output=True)
    assert not output.residual.requires_grad
    output.phis[0].x.square().mean().backward()
    learns = [update[0].conv1.weight.grad is not None for update in model.canonicalizer.module_list]
    assert learns == [True, False, False]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_there_is_one_warp_per_site(count):
    with pytest.raises(ValueError, match=f"{count} pairs of parameters for 3 sites; expected one each"):
        adapted().predict(images(), random_phis(2, *[4] * count))


def test_warps_for_another_batch_are_refused():
    with pytest.raises(ValueError, match="phi is for 3 images; this batch has 2"):
        adapted().predict(images(2), random_phis(3, 4, 5, 4))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.rand(3, 96, 96), ValueError, r"shape \(3, 96, 96\); expected \(B, C, H, W\)"),
        (torch.rand(0, 3, 96, 96), ValueError, r"shape \(0, 3, 96, 96\); .* none of them zero"),
        (torch.rand(2, 1, 96, 96), ValueError, r"shape \(2, 1, 96, 96\); expected \(B, 3, H, W\)"),
        (torch.rand(2, 3, 64, 96), AssertionError, r"Input height \(64\) doesn't match"),
        (torch.zeros(2, 3, 96, 96, dtype=torch.uint8), TypeError, "image is torch.uint8; expected a floating dtype"),
        ([[0.0]], TypeError, "image is list; expected a tensor"),
    ],
)
def test_images_that_do_not_fit_are_refused(image, error, message):
    model = adapted()
    with pytest.raises(error, match=message):
        model(image)
    if error is not AssertionError:  # which is of a backbone that takes one size alone
        with pytest.raises(error, match=message):
            model(image, warps_only=True)
    assert [site.visit for site in model.sites] == [None] * 3


# The condition


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", SWIN])
def test_a_latent_canonicalizer_reads_the_feature_that_arrives_and_learns(name):
    model = adapted(name, condition="feature")
    arriving = [stage.channels for stage in sites_of(plain(name), (96, 96))[:2]]
    assert [update.in_channels for update in model.canonicalizer.module_list] == [3, *arriving]
    model.train()(images(4)).square().mean().backward()
    for part, parameter in model.canonicalizer.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), part
        assert parameter.ndim == 1 or parameter.grad.abs().max() > 0, part


@every_layout
@torch.no_grad()
def test_a_latent_warp_is_the_fixed_point_for_the_feature_that_arrives(name):
    model, stages, arrived = adapted(name, condition="feature"), sites_of(plain(name), (96, 96)), []
    for stage in stages[:2]:
        module = model.backbone.get_submodule(stage.module)
        module.register_forward_pre_hook(lambda _, args: arrived.append(args[0]), prepend=True)
    output = model(images(), return_output=True)
    for site, feature in enumerate([images(), *arrived]):
        grid = stages[site - 1].layout.to_grid(feature, stages[site - 1].size) if site else feature
        found = model.canonicalizer.solve(site, grid)
        torch.testing.assert_close(tuple(found.value), tuple(output.phis[site]))
        torch.testing.assert_close(found.residual, output.residual[:, site])


@torch.no_grad()
def test_only_a_latent_site_looks_at_what_the_stage_before_it_made():
    for condition in ("image", "feature"):
        model = adapted(sites=[Site(0, 4), Site(1, 4)], condition=condition)
        before = model(images(), return_output=True).phis
        for parameter in model.backbone.blocks[0].parameters():
            parameter.mul_(1.5)
        after = model(images(), return_output=True).phis
        changed = [(old.x - new.x).abs().max() > 1e-4 for old, new in zip(before, after, strict=True)]
        assert changed == [False, condition == "feature"]


def test_features_too_small_for_the_pools_are_refused_at_once():
    backbone = plain()
    with pytest.raises(ValueError, match=r"a source of \(6, 6\) leaves 1 x 1 after the pools.* or smaller pools"):
        adapted(sites=[Site(0, 4)], backbone=backbone, condition="feature", pools=(2, 2))
    assert hooks_of(backbone) == 0


@pytest.mark.parametrize("condition", ["image", "feature"])
@torch.no_grad()
def test_no_image_depends_on_its_batch_mates(condition):
    model = adapted(condition=condition)
    together = model(images(4), return_output=True)
    for index, image in enumerate(images(4).split(1)):
        alone = model(image, return_output=True)
        assert (alone.logits - together.logits[index]).abs().max() <= 1e-5 * together.logits.abs().max()
        for one, all_ in zip(alone.phis, together.phis, strict=True):
            torch.testing.assert_close(one.x[0], all_.x[index], rtol=0, atol=1e-5)
            torch.testing.assert_close(one.y[0], all_.y[index], rtol=0, atol=1e-5)


# Gradients


def test_two_views_in_one_forward_are_two_forwards():
    model = adapted().double()
    first, second = images(2).double(), images(2).flip(-1).double()
    both = model(torch.cat([first, second]), return_output=True)
    for view, logits in zip((first, second), both.logits.chunk(2), strict=True):
        torch.testing.assert_close(model(view), logits, rtol=1e-9, atol=1e-9)

    def loss(logits: Tensor) -> Tensor:
        return logits.square().mean()

    (loss(both.logits.chunk(2)[0]) + 3 * loss(both.logits.chunk(2)[1])).backward()
    joint = gradients(model)
    model.zero_grad()
    (loss(model(first)) + 3 * loss(model(second))).backward()
    assert_same_gradients(gradients(model), joint)


@pytest.mark.parametrize("condition", ["image", "feature"])
def test_two_forwards_before_one_backward_add_their_gradients(condition):
    model = adapted(condition=condition).double()
    views = images(2).double(), images(2).flip(-1).double()
    sums: dict[str, Tensor] = {}
    for view in views:
        model.zero_grad()
        model(view).square().mean().backward()
        sums = {name: sums.get(name, 0) + part for name, part in gradients(model).items()}
    model.zero_grad()
    outputs = [model(view) for view in views]
    sum(logits.square().mean() for logits in outputs).backward()
    assert_same_gradients(gradients(model), sums)


@pytest.mark.parametrize("sites", [SITES, [Site("image", 4, restore=True)]], ids=["stages", "restored image"])
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_checkpointing_around_a_stage_is_refused(name, sites):
    model = adapted(name, sites)
    expected = model(images())
    with pytest.raises(ValueError, match=r"activation checkpointing of .* would recompute .* set_grad_checkpointing"):
        model.set_grad_checkpointing(True)
    torch.testing.assert_close(model(images()), expected, rtol=0, atol=0)
    model.backbone.set_grad_checkpointing(True)
    with pytest.raises(ValueError, match="activation checkpointing of"):
        model(images())
    model.set_grad_checkpointing(False)
    torch.testing.assert_close(model(images()), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "sites"), [(SWIN, SITES), ("test_vit", [Site("image", 4)])])
def test_checkpointing_inside_a_stage_changes_no_gradient(name, sites):
    model = adapted(name, sites).double()
    calls = []
    inner = model.backbone.layers[0].blocks[0] if name == SWIN else model.backbone.blocks[0]
    inner.register_forward_pre_hook(lambda *_: calls.append(1))
    found = []
    for is_checkpointed in (False, True):
        model.set_grad_checkpointing(is_checkpointed)
        model.zero_grad()
        model(images().double()).square().mean().backward()
        found.append(gradients(model))
    assert len(calls) == 1 + 2  # the second time it is recomputed
    assert_same_gradients(found[1], found[0])
