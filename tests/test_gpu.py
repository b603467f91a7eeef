"""What only a GPU can show; `pytest -m gpu` runs it where there is one."""

import copy
import json

import pytest
import torch

import train_imagenet
from models.dec import DECModel
from tests.layers.test_canonicalizer import golden
from tests.models.adapting import images
from tests.models.test_compile import THREE
from tests.models.test_families import adapted, make_identity, smooth_images
from tests.models.test_waits import FIXED, two_sites

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

every_one_of_three = pytest.mark.parametrize("architecture", THREE, ids=lambda architecture: architecture.name)


@pytest.mark.parametrize("name", ["mnist", "imagenet"])
def test_reference_values_on_the_device(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    values, canonicalizer = golden(name)
    form = canonicalizer.cuda()(values["image"].cuda())
    for site, phi in enumerate(form.phis):
        torch.testing.assert_close(phi.x.cpu(), values[f"phi_x.{site}"], rtol=0, atol=1e-3)
        torch.testing.assert_close(phi.y.cpu(), values[f"phi_y.{site}"], rtol=0, atol=1e-3)


@every_one_of_three
@torch.no_grad()
def test_the_device_gives_the_logits_of_the_cpu(architecture, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model, image = adapted(architecture), smooth_images(4, architecture.image_size)
    expected = model(image)
    found = copy.deepcopy(model).cuda()(image.cuda()).cpu()
    assert (found - expected).abs().max() <= 1e-2 * expected.std()


@every_one_of_three
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_trains_with_warps_in_full_precision(architecture, dtype):
    model: DECModel = adapted(architecture).cuda().train()
    image = smooth_images(4, architecture.image_size).cuda()
    with torch.autocast("cuda", dtype):
        output = model(image, return_output=True)
    assert all(part.dtype == torch.float32 for phi in output.phis for part in phi)
    output.logits.float().square().mean().backward()
    for name, parameter in model.canonicalizer.named_parameters():
        assert parameter.grad.isfinite().all(), name


@every_one_of_three
@torch.no_grad()
def test_compiled_equals_eager_on_the_device(architecture):
    torch._dynamo.reset()
    model = adapted(architecture).cuda()
    make_identity(model)
    image = smooth_images(4, architecture.image_size).cuda()
    expected = model(image)
    assert (torch.compile(model)(image) - expected).abs().max() <= 1e-2 * expected.std()


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["smoke_equiv", "smoke_dem"])
def test_pictures_train_in_half_precision_with_all_that_the_published_recipes_use(name, amp, tmp_path):
    words = ["train.epochs=3", "augmentation.mixup=0.8", "augmentation.cutmix=1.0", "augmentation.erase=0.25"]
    words += ["train.layer_decay=0.75", "train.ema=0.9", "train.accumulate=2", "augmentation.auto_augment=original"]
    train_imagenet.main(["--config", name, "--run_dir", str(tmp_path), f"train.amp={amp}", "train.device=cuda", *words])
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()[:3]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("restore", [False, True])
def test_a_solve_of_a_fixed_count_waits_for_nothing(restore):
    """CUDA itself says so: it raises where the host would have to wait for the device."""
    model = two_sites(restore, solver=FIXED).cuda().train()
    image = images().cuda()
    model(image).sum().backward()  # the first pass sets libraries up
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(image).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
