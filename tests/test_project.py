"""Holds the files around the code to each other: dependencies, words of the Makefile, no paths of one machine."""

import ast
import re
import subprocess
import sys
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


NAMES = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
}  # of packages that are called otherwise
CORE = ("config", "layers", "models", "dataloader", "evaluation", "report", "train")


def imported(tree: ast.Module, *, inside: bool) -> set[str]:
    """Packages that a file imports when it is imported, or (inside) when one of its functions is called."""
    tops = {id(node) for node in tree.body}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    found = set()
    for node in nodes:
        if (id(node) in tops) != inside:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found |= {name.partition(".")[0] for name in names}
    return found - sys.stdlib_module_names - {"", *CORE, "hubconf"}


def test_what_the_core_imports_is_declared_and_what_it_does_not_is_an_extra() -> None:
    """A package that only a function imports may be that of an extra."""
    files = [*ROOT.glob("*.py"), *(file for folder in CORE for file in (ROOT / folder).rglob("*.py"))]
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    core = ranges(PROJECT["dependencies"]).keys()
    extras = ranges([line for extra in PROJECT["optional-dependencies"].values() for line in extra]).keys()
    at_once, later = (
        {canonicalize_name(NAMES.get(name, name)) for tree in trees for name in imported(tree, inside=inside)}
        for inside in (False, True)
    )
    assert at_once <= core
    assert core <= at_once | later
    carried = {"fsspec", "pyarrow"}  # by the package datasets, which the extra of shards names
    assert later - carried <= core | extras


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
    words = {"help", "setup", "check", "test", "test-all", "bench", "demo", "docs"}
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == words  # `make help` lists these
    (phony,) = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert set(phony.split()) == words
    modules = re.findall(r"-m benchmarks\.(\w+)", makefile)
    assert [name for name in modules if not (ROOT / "benchmarks" / f"{name}.py").is_file()] == []
