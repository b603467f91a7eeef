"""The functions of DISCO are solved for anew, once a session, whatever this machine has kept of earlier ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from layers.scale import disco


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    disco._impulse_versions.cache_clear()
    return tmp_path_factory.mktemp("torch_home")


@pytest.fixture(autouse=True)
def torch_home(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(empty_home))
    monkeypatch.setattr("torch.hub._hub_dir", None)
