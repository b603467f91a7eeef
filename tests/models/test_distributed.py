"""Two processes, each with half of a batch, must find the gradients of one process with all of it."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from layers.fixed_point import FixedPointSolver
from layers.spec import Condition
from models.dec import DECModel, DECOutput, Site, with_dec
from tests.models.architectures import ARCHITECTURES, build, random_images

RANKS = 2
NAMES = ("test_vit", "swin_tiny_patch4_window7_224", "test_resnet")
SOLVERS = {
    "one_step": FixedPointSolver(),
    "implicit": FixedPointSolver(gradient="implicit"),
}
CASES: list[tuple[str, str, Condition]] = [
    *((name, gradient, "image") for name in NAMES for gradient in SOLVERS),
    ("test_vit", "one_step", "feature"),
]

pytestmark = pytest.mark.dist


def model_and_batch(name: str, gradient: str, condition: Condition) -> tuple[DECModel, Tensor, Tensor]:
    """The same model in every process; in evaluation mode, which fixes batch statistics and drops nothing.

    In double precision, where a gradient that is zero but for rounding, of what the next norm cancels, is no trouble.
    """
    architecture = next(architecture for architecture in ARCHITECTURES if architecture.name == name)
    torch.manual_seed(0)
    model = with_dec(
        build(architecture),
        [Site("image", 4), Site(0, 5, restore=True), Site(1, 4)],
        channels=(3, 6, 8),
        kernel_sizes=(3, 3),
        pools=(1, 2),
        input_size=32,
        solver=SOLVERS[gradient],
        condition=condition,
        image_size=architecture.image_size,
    )
    with torch.no_grad():
        for update in model.canonicalizer.module_list:
            update[-1].weight.mul_(0.2)  # a contraction, which the implicit gradient needs
    images = random_images(4, architecture.image_size, torch.Generator().manual_seed(1))
    return model.double().eval(), images.double(), torch.tensor([1, 7, 3, 3])


def loss_of(output: DECOutput, labels: Tensor) -> Tensor:
    on_phis = [part.pow(power).mean() for phi in output.phis for power, part in enumerate(phi, start=2)]
    return F.cross_entropy(output.logits, labels) + 10 * torch.stack(on_phis).sum()


def gradients_of(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    loss_of(network(images, return_output=True), labels).backward()
    return {name: part.grad for name, part in network.named_parameters() if part.grad is not None}


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    found = {}
    for case in CASES:
        model, images, labels = model_and_batch(*case)
        if rank > 0:  # the first process's parameters count
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.zero_()
        network = DistributedDataParallel(model, find_unused_parameters=False)
        gradients = gradients_of(network, images.chunk(RANKS)[rank], labels.chunk(RANKS)[rank])
        found[case] = {name.removeprefix("module."): part for name, part in gradients.items()}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.filterwarnings("error:the adjoint of")
def test_two_ranks_find_the_gradients_of_one_process(tmp_path):
    mp.spawn(run_rank, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    for case in CASES:
        model, images, labels = model_and_batch(*case)
        expected = gradients_of(model, images, labels)
        assert set(expected) == {name for name, _ in model.named_parameters()}
        for part in ("backbone", "canonicalizer"):
            names = [name for name in expected if name.startswith(part)]
            scale = torch.stack([expected[name].abs().max() for name in names]).max()
            assert scale > 1e-3, case
            for name in names:
                assert torch.equal(ranks[0][case][name], ranks[1][case][name]), (case, name)
                error = (ranks[0][case][name] - expected[name]).abs().max()
                assert error <= 1e-5 * expected[name].abs().max() + 1e-11 * scale, (case, name)
