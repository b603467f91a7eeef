"""Holds what a LaMa is given and what is made of its answer, with TorchScript files that stand in for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from multiscale.errors import MissingWeights
from multiscale.lama import Lama

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # deprecated, but the weights exist in no other form


class Same(nn.Module):
    """Gives the image back, if its sides are what LaMa can take."""

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        assert image.shape[0] == 1 and image.shape[1] == 3 and hole.shape[1] == 1
        assert image.shape[2:] == hole.shape[2:] and image.shape[2] % 8 == 0 and image.shape[3] % 8 == 0
        assert float(image.min()) >= 0 and float(image.max()) <= 1
        return image


class Next(nn.Module):
    """Gives each pixel the colour of the one at its right and below."""

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return torch.roll(image, (-1, -1), (2, 3))


class Hole(nn.Module):
    """Shows the hole."""

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return hole.expand_as(image)


class Redder(nn.Module):
    """Adds a fifth of red, and takes away a fifth of blue."""

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return image + torch.tensor([0.2, 0.0, -0.2], device=image.device)[:, None, None]


class Net(nn.Module):
    """A network that sees image and hole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 3, 5, padding=2)

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return self.conv(torch.cat([image * (1 - hole), hole], 1)).sigmoid()


def saved(network: nn.Module, folder: Path) -> Path:
    path = folder / f"{type(network).__name__}.pt"
    torch.jit.script(network).save(str(path))
    return path


def picture(*size: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and a hole."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (*size, 3), dtype=np.uint8), random.random(size) < 0.3


def test_padding_shifts_nothing_and_no_level_is_lost(tmp_path: Path) -> None:
    pictures = [picture(*size) for size in [(1, 1), (3, 5), (8, 16), (13, 1), (17, 23)]]
    filled = Lama(saved(Same(), tmp_path), "cpu")(*zip(*pictures, strict=True))
    for (image, _), new in zip(pictures, filled, strict=True):
        assert new.dtype == np.uint8
        np.testing.assert_array_equal(new, image)


def test_a_picture_goes_on_as_in_a_mirror(tmp_path: Path) -> None:
    image, hole = picture(3, 13)
    expected = np.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")[1:, 1:]
    np.testing.assert_array_equal(Lama(saved(Next(), tmp_path), "cpu").fill(image, hole), expected)


def test_the_hole_is_1_and_the_rest_0(tmp_path: Path) -> None:
    image, hole = picture(9, 10)
    shown = Lama(saved(Hole(), tmp_path), "cpu").fill(image, hole)
    np.testing.assert_array_equal(shown, np.where(hole[..., None], 255, 0).repeat(3, -1))


def test_channels_are_red_green_blue_and_colours_end_at_0_and_255(tmp_path: Path) -> None:
    image, hole = picture(9, 10)
    redder = Lama(saved(Redder(), tmp_path), "cpu").fill(image, hole)
    np.testing.assert_array_equal(redder, np.add(image, [51, 0, -51]).clip(0, 255))


def test_the_network_is_loaded_once_and_gives_what_a_direct_call_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, loads, load = Net(), [], torch.jit.load
    path = saved(network, tmp_path)
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: loads.append(args) or load(*args, **kwargs))
    pictures = [picture(16, 24), picture(16, 24), picture(8, 8)]
    lama = Lama(path, "cpu")
    for (image, hole), new in zip(pictures, lama(*zip(*pictures, strict=True)), strict=True):
        with torch.inference_mode():
            direct = network(torch.tensor(image).permute(2, 0, 1)[None] / 255, torch.tensor(hole)[None, None].float())
        np.testing.assert_allclose(new / 255, direct[0].permute(1, 2, 0).numpy(), rtol=0, atol=0.51 / 255)
    assert len(loads) == 1


@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1", "state_dict"])
def test_a_file_that_is_no_network_is_reported(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "big-lama.pt"
    if content == "state_dict":
        torch.save(Net().state_dict(), path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingWeights) as caught:
        Lama(path, "cpu")
    for word in (str(path), "--inpainter_model FILE", "exported to TorchScript", "Telea"):
        assert word in str(caught.value)
