"""What every test leaves as it found it."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A sum over two threads rounds otherwise than over one: a benchmark's choice must not reach the next test."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
