"""Two processes with half of a batch each find the gradients of one process, for one network of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import models.scale_zoo  # noqa: F401  (makes the networks known to timm)

RANKS, SIDE = 2, 32
NAMES = (
    *("standard", "slice_pool", "conv3d", "ensemble", "spatial_transform", "xu", "kanazawa", "hermite", "disco"),
    *("learned_scales", "dss", "dss_v2", "deformable_dss", "deformable_v2", "c8"),
)

pytestmark = pytest.mark.dist


def model_and_batch(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = timm.create_model(f"stir2_{name}", img_size=SIDE).double()
    images = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model, images, torch.tensor([1, 7, 3, 3])


def gradients_of(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    F.cross_entropy(network(images), labels).backward()
    found = {name.removeprefix("module."): part.grad for name, part in network.named_parameters()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    found = {}
    for name in NAMES:
        model, images, labels = model_and_batch(name)
        network = DistributedDataParallel(model)
        found[name] = gradients_of(network, images.chunk(RANKS)[rank], labels.chunk(RANKS)[rank])
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_find_the_gradients_of_one_process(tmp_path: Path) -> None:
    mp.spawn(run_rank, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    for name in NAMES:
        expected = gradients_of(*model_and_batch(name))
        assert set(expected) == set(dict(model_and_batch(name)[0].named_parameters()))
        for key, gradient in expected.items():
            for found in ranks:
                torch.testing.assert_close(found[name][key], gradient, rtol=1e-7, atol=1e-10, msg=f"{name}: {key}")
