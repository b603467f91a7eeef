"""README and docs/: links lead somewhere, commands name recipes and settings that exist, lines for adopters run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import train_dense
import train_imagenet
import train_mnist
import train_scale
from config.load import recipe_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ADAPTING = (ROOT / "docs" / "adapting.md").read_text()
SCRIPTS = {
    "train_mnist.py": train_mnist,
    "train_imagenet.py": train_imagenet,
    "train_scale.py": train_scale,
    "train_dense.py": train_dense,
}
STAND_INS = {"SEED": "70"}  # words of the pages that stand for a number

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, language: str) -> list[str]:
    """What stands in the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """All but the fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The fragments by which the headings of a page are reached."""
    headings = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(text)))


def commands(text: str) -> list[list[str]]:
    """The words of every command, without comments and variables; those in the prose count if they start python."""
    lines = "\n".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]
    lines += [span for span in spans if span.startswith(("python ", "bash ", "torchrun "))]
    found = []
    for part in (part for line in lines for part in re.split(r"&&|;", re.sub(r"\s#.*", "", line))):
        words = shlex.split(part)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            found.append([STAND_INS.get(word, word) for word in words])
    return found


def train_words(command: list[str]) -> tuple[str, list[str]] | None:
    """The training script that a command starts, and its words; None for other commands."""
    for name in SCRIPTS:
        if name in command:
            return name, command[command.index(name) + 1 :]
    if command[0] != "bash" or len(command) < 5:
        return None
    script, first, second, third, *others = command[1:]
    if script == "run_mnist.sh":
        return "train_mnist.py", ["--config_file", first, "--config", second, "--random_seed", third, *others]
    if script.startswith("imagenet_"):
        return "train_imagenet.py", ["--config", second, f"train.epochs={third}", *others]
    return None


TRAININGS = [(page, *found) for page in PAGES for words in commands(page.read_text()) if (found := train_words(words))]


def test_there_is_something_to_hold() -> None:
    assert len(PAGES) >= 24 and len(TRAININGS) > 20
    assert {name for _, name, _ in TRAININGS} == set(SCRIPTS)


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    found = links(page.read_text())
    assert found or page.parent.name == "scale"
    for target in found:
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not fragment or fragment in anchors(file.read_text()), target


@pytest.mark.parametrize("index", [page for page in PAGES[1:] if page.name == "README.md"], ids=str)
def test_the_index_lists_every_page(index: Path) -> None:
    listed = set(links(index.read_text()))
    assert {page.name for page in PAGES if page.parent == index.parent} - {"README.md"} <= listed


@pytest.mark.parametrize(
    ("page", "name", "words"), TRAININGS, ids=[f"{page.stem}-{' '.join(words)}" for page, _, words in TRAININGS]
)
def test_every_training_command_names_what_there_is(
    page: Path, name: str, words: list[str], monkeypatch, tmp_path
) -> None:
    """The script itself reads the words and loads the recipes, and is stopped where it would begin to work.

    The current folder holds the recipes of the page that begin with the name of their file.
    """
    for recipe in blocks(page.read_text(), "yaml"):
        if found := re.match(r"# (\w+\.yaml)\n", recipe):
            (tmp_path / found[1]).write_text(recipe)
    monkeypatch.chdir(tmp_path)
    script, loaded = SCRIPTS[name], []
    monkeypatch.setattr(script, "run_recipe", lambda recipe, *_: loaded.append(recipe))
    monkeypatch.setattr(script, "close_suite", lambda *_: None)
    if name == "train_imagenet.py" and not words:  # says what it needs
        with pytest.raises(SystemExit):
            script.main(words)
        return
    script.main(words)
    assert loaded


@every_page
def test_every_other_command_names_what_there_is(page: Path) -> None:
    recipes = {name for file in ("config_1.yaml", "adapter_config.yaml") for name in recipe_names(file)}
    for command in commands(page.read_text()):
        for file in (word for word in command if re.fullmatch(r"[\w/]+\.(py|sh|txt)", word)):
            assert (ROOT / file).exists(), command
        if command[:2] == ["python", "-m"]:
            module = ROOT.joinpath(*command[2].split("."))
            is_there = module.with_suffix(".py").exists() or (module / "__main__.py").exists()
            assert is_there or command[2] == "pytest", command
        if "--compare" in command:
            compared = command[command.index("--compare") + 1 :][:2]
            assert set(compared) <= recipes, command


@every_page
def test_lines_are_no_longer_than_120(page: Path) -> None:
    for line in page.read_text().splitlines():
        assert len(line) <= 120 or line.startswith("|"), line


def run(parts: list[str]) -> dict[str, Any]:
    """What is defined by parts that run in one scope, with random weights and smaller batches."""
    scope: dict[str, Any] = {}
    for part in parts:
        small = part.replace("pretrained=True", "pretrained=False").replace("<checkout>", str(ROOT))
        exec(re.sub(r"torch\.rand\(8, 3, (?=\d{3})", "torch.rand(2, 3, ", small), scope)
    return scope


def test_the_lines_for_adopters_run(capsys) -> None:
    """In their order and in one scope, since a later part goes on from an earlier one."""
    parts = [part for part in blocks(ADAPTING, "python") if "onnx" not in part]
    assert len(parts) >= 6
    scope = run(parts)
    assert "torch.Size([2, 2]) [torch.Size([2, 4, 3])" in capsys.readouterr().out
    assert scope["logits"].shape == (2, 1000) and scope["residual"].shape == (2, 1)
    assert scope["moved"].shape == scope["labels"].shape and scope["folded"].shape == (8, 64, 64)
    assert (scope["back"] - scope["image"]).abs().mean() < (scope["warped"] - scope["image"]).abs().mean()


def test_the_lines_on_scale_run_and_name_all_systems(capsys) -> None:
    page = (ROOT / "docs" / "scale" / "README.md").read_text()
    scope = run(blocks(page, "python"))
    assert scope["logits"].shape == (2, 10) and scope["widths"].shape == (2, 32)
    assert "layer2 (2, 32, 4, 36, 36) True 1.0 14.0" in capsys.readouterr().out
    named = set(re.findall(r"`(stir2_\w+)`", page))
    made = set(scope["timm"].list_models("stir2_*"))
    assert named == {name for name in made if not name.endswith("_coarse")}


@pytest.mark.slow
def test_the_lines_that_export_run(tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnxscript", reason="the onnx extra is not installed")
    monkeypatch.chdir(tmp_path)
    run([part for part in blocks(ADAPTING, "python") if "onnx" in part])
    assert (tmp_path / "dec.onnx").stat().st_size > 0
