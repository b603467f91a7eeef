"""A folder of recipe files."""

from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes recipes.yaml into the current folder, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def writer(text: str, name: str = "recipes.yaml") -> str:
        Path(name).write_text(text, "utf-8")
        return name

    return writer
