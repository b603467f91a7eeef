"""Annotated pictures that the tests of the script share."""

from __future__ import annotations

from pathlib import Path

import pytest

from example import write_annotated


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of six drawn scenes."""
    return write_annotated(tmp_path_factory.mktemp("scenes") / "scenes", 6)
