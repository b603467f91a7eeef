"""The kinds of sites: which doorway stands where, in which order, and what each says of itself."""

import pytest
import torch
from torch import nn

from layers.frame import Frame
from models.dec import Site
from models.doorways import KINDS, ImageSite, InputSite, WarpSite, attach_sites, kind_of, reads_image
from models.sites import probe
from tests.models.adapting import BY_NAME, adapted, hooks_of, images, plain


@pytest.mark.parametrize(
    ("stage", "kind", "opens"),
    [("image", ImageSite, "image"), ("input", InputSite, "input"), (0, WarpSite, None), (3, WarpSite, None)],
)
def test_a_name_or_a_number_chooses_the_kind(stage, kind, opens):
    assert kind_of(Site(stage)) is kind and kind.opens == opens
    assert reads_image(Site(stage)) == (opens is not None)
    assert {"image": ImageSite, "input": InputSite} == KINDS


def test_doorways_come_in_the_order_of_the_sites_and_hook_in_that_of_their_ranks():
    """What a restored image gives back, the first stage's own site warps afterwards."""
    sites = [Site(0, 5), Site("input", 4), Site("image", 4, restore=True)]
    backbone = plain()
    found = probe(backbone, BY_NAME["test_vit"].image_size)
    doorways = attach_sites(backbone, sites, found)
    assert [type(doorway) for doorway in doorways] == [WarpSite, InputSite, ImageSite]
    assert [doorway.name for doorway in doorways] == ["blocks.0", "input", "image"]
    hooks = list(backbone.get_submodule("blocks.0")._forward_pre_hooks.values())
    assert [hook.__func__ for hook in hooks] == [ImageSite.restore_input, WarpSite.canonicalize]
    assert hooks_of(backbone) == 2  # a site on the input touches no stage


def test_a_site_says_what_arrives_at_it():
    backbone = plain()
    found = probe(backbone, BY_NAME["test_vit"].image_size)
    first = found.stages[0]
    assert WarpSite.arriving(Site(0), found, 3) == (first.channels, first.size)
    for kind in KINDS.values():
        assert kind.arriving(Site("image"), found, 3) == (3, (96, 96))


@torch.no_grad()
def test_a_new_kind_is_a_class_in_the_list(monkeypatch):
    """One in front of the last stage, whatever its number."""

    class LastSite(WarpSite):
        @classmethod
        def check(cls, site, found):
            cls._check_output(site, found)

        @classmethod
        def _stage(cls, site, found):
            return -1

    monkeypatch.setitem(KINDS, "last", LastSite)
    named, numbered = (adapted(sites=(Site(stage, 4),)) for stage in ("last", 5))
    assert [site.name for site in named.sites] == ["blocks.5"]
    assert torch.equal(named(images()), numbered(images()))
    with pytest.raises(ValueError, match="there is no stage 'first'; valid stages are 'image', 'input', 'last', 0"):
        adapted(sites=(Site("first", 4),))


def test_frames_are_of_the_image_at_the_pixels_and_of_the_pixels_at_a_stage():
    model = adapted(sites=(Site("image", 4), Site("input", 4), Site(0, 4)))
    assert isinstance(model.preprocess, nn.Identity)
    image, given, stage = model.frames((96, 96))
    assert image == given == Frame()
    assert stage == Frame.resized(model.sites[2].size, (96, 96)) != Frame()
