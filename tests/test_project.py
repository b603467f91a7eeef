"""Holds the files around the code to each other: dependencies, words of the Makefile, no paths of one machine."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
FROM_CONDA = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
(FROM_PIP,) = (line["pip"] for line in ENVIRONMENT["dependencies"] if isinstance(line, dict))
PATH_OF_A_MACHINE = re.compile(r"(?<![\w.~$}-])/(?:home|Users)/[\w.-]+/")


def ranges(lines: list[str]) -> dict[str, SpecifierSet]:
    """Returns the range of versions of every package."""
    parsed = [Requirement(line) for line in lines]
    found = {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}
    assert len(found) == len(lines), f"a package is named twice among {sorted(lines)}"
    return found


def test_conda_and_pip_name_the_same_packages_with_the_same_ranges() -> None:
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    assert ranges(FROM_PIP) == ranges([*PROJECT["dependencies"], *extras])
    conda = ranges(FROM_CONDA)
    assert conda.keys() == {"python", "pip"}
    assert set(SpecifierSet(PROJECT["requires-python"])) <= set(conda["python"])  # and perhaps an upper end


def test_the_data_generation_has_an_environment_of_its_own_with_the_same_ranges() -> None:
    environment = yaml.safe_load((ROOT / "datagen_ImNet" / "environment.yml").read_text("utf-8"))
    assert environment["name"] == "inpaint" and ENVIRONMENT["name"] == "local_scale"
    *from_conda, last = environment["dependencies"]
    assert from_conda == FROM_CONDA
    lines = (ROOT / "datagen_ImNet" / "requirements.txt").read_text("utf-8").splitlines()
    needed = ranges([line for line in lines if not line.startswith("#")])
    assert last == {"pip": ["-r requirements.txt"]}
    ours = ranges(FROM_PIP)
    assert {name: ours.get(name) for name in needed} == needed


@pytest.mark.parametrize("line", [*FROM_CONDA, *FROM_PIP])
def test_the_environment_has_ranges_without_pins_and_builds(line: str) -> None:
    operators = {specifier.operator for specifier in Requirement(line).specifier}  # a build string does not parse
    assert operators <= {">=", "<", "!="}
    assert ">=" in operators or line == "pip"


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there are no tracked files to look through")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert files
    found = []
    for file in filter(Path.is_file, files):  # a file may be deleted and still tracked
        content = file.read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8", errors="replace")
            found += [f"{file.relative_to(ROOT)}: {match}" for match in PATH_OF_A_MACHINE.findall(text)]
    assert found == []


@pytest.mark.parametrize("user", ["someone", "a.b-c"])
def test_a_path_of_one_machine_is_found(user: str) -> None:
    assert PATH_OF_A_MACHINE.search(f"root: /home/{user}/data") and PATH_OF_A_MACHINE.search(f"'/Users/{user}/data'")
    assert not PATH_OF_A_MACHINE.search(f"https://example.org/home/{user}/ or $DATA/home/{user}/x")


def test_the_makefile_has_its_words() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    words = {"help", "setup", "check", "test", "test-all", "bench", "demo"}
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == words  # `make help` lists these
    (phony,) = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert set(phony.split()) == words
    modules = re.findall(r"-m benchmarks\.(\w+)", makefile)
    assert [name for name in modules if not (ROOT / "benchmarks" / f"{name}.py").is_file()] == []
