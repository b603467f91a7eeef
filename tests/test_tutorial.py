"""Holds the tutorial to its word: stored bare, told before shown, nothing defined twice, run without a network."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[1]
SECONDS = 180  # of one thread that works alone; on a busy machine the clock says more
DRAWS = re.compile(r"\bpyplot\.show\(|\bImage\(")
TELLS = re.compile(r"\*\*Look at\*\*")
OFFLINE = """
import socket
def refused(*_, **__): raise OSError("the tutorial reached for a network")
socket.getaddrinfo = socket.socket.connect = refused
"""
FACTS = """
import json, sys, time
print(json.dumps({
    "interpreter": sys.executable,
    "seconds": time.process_time(),
    "identical": identical,
    "residuals": {f"{solver} {strength}": values for (strength, solver), values in residuals.items()},
    "radii": [radii[1.0], radii[0.25]],
    "misses": [misses["rowwise", 0.25], misses["rowwise", 0.125], misses["exact", 0.125]],
    "losses": {name: [epoch["train_loss"] for epoch in epochs] for name, epochs in history.items()},
    "softened": list(softened.values()),
    "apart": [float(apart), float(left.x.norm()), *(float((says.x - way.x).norm()) for way in ways)],
    "spread": forms.spread(),
    "metrics": {name: found.metrics for name, found in measured.items()},
}))
"""


def tutorial() -> Any:
    return nbformat.read(ROOT / "TUTORIAL.ipynb", as_version=4)


def told(cells: list[Any], index: int) -> bool:
    """Whether the cell before this one says in words what to look at."""
    return index > 0 and cells[index - 1].cell_type == "markdown" and bool(TELLS.search(cells[index - 1].source))


def test_it_is_stored_without_outputs() -> None:
    notebook = tutorial()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.kernelspec.name == "python3"


def test_every_figure_is_preceded_by_what_to_look_at() -> None:
    cells = tutorial().cells
    figures = [index for index, cell in enumerate(cells) if cell.cell_type == "code" and DRAWS.search(cell.source)]
    assert len(figures) >= 5
    assert [cells[index].id for index in figures if not told(cells, index)] == []


def test_it_defines_nothing_that_the_project_has() -> None:
    folders = [folder for folder in ROOT.iterdir() if folder.name[0] != "." and any(folder.glob("*.py"))]
    files = [
        *ROOT.glob("*.py"),
        *(file for folder in folders if folder.name != "tests" for file in folder.rglob("*.py")),
    ]
    names = {name for file in files for name in definitions(file.read_text("utf-8"))}
    assert {"monotone_warp", "accuracy", "WarpParams", "Trainer", "build_model"} <= names
    code = [cell.source for cell in tutorial().cells if cell.cell_type == "code"]
    assert names & {name for source in code for name in definitions(source)} == set()


def test_definitions_of_all_kinds_are_found() -> None:
    source = "class A:\n    def b(self): ...\nasync def c(): ...\nd = lambda: 0\ne: object = lambda: 0\nf = 1"
    assert definitions(source) == {"A", "b", "c", "d", "e"}


def definitions(source: str) -> set[str]:
    """Names of all functions and classes, also of methods and named lambdas."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kernel_spec(str(tmp_path / "kernels" / "python3"))  # of this interpreter, whatever else is installed
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = tutorial()
    own = len(notebook.cells)
    notebook.cells = [new_code_cell(OFFLINE), *notebook.cells, new_code_cell(FACTS)]
    where = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()

    cells = notebook.cells[1 : 1 + own]
    drawn = [index for index, cell in enumerate(cells) if "image/png" in shown(cell)]
    assert drawn == [
        index for index, cell in enumerate(cells) if cell.cell_type == "code" and DRAWS.search(cell.source)
    ]

    facts = json.loads(notebook.cells[-1].outputs[0].text)
    assert facts["interpreter"] == sys.executable
    assert facts["seconds"] < SECONDS
    print(f"the tutorial took {facts['seconds']:.0f} s of one core")
    assert facts["identical"] is True
    residuals = facts["residuals"]
    assert residuals["anderson 0.25"][-1] < 0.01 * residuals["anderson 0.25"][0]
    assert residuals["fixed_point 0.25"][-1] < 0.01 * residuals["fixed_point 1.0"][-1]
    assert facts["radii"][1] < 1 < facts["radii"][0]
    rowwise, halved, exact = facts["misses"]
    assert 3 < rowwise / halved < 5 and exact < 1e-6  # second order, and none
    base = facts["losses"]["base"]
    assert base[-1] < 0.5 * base[0]
    sure, soft = facts["softened"]
    assert sure["accuracy"] == soft["accuracy"] and sure["warp_invariance_flips"] == soft["warp_invariance_flips"]
    assert soft["warp_invariance_error"] < 0.5 * sure["warp_invariance_error"]  # for nothing
    tempered = [found["warp_invariance_error_tempered"] for found in (sure, soft)]
    assert tempered[0] == pytest.approx(tempered[1], rel=1e-3)
    assert facts["metrics"].keys() == {"base", "augmentation", "residual DEC"}
    assert min(found["accuracy"] for found in facts["metrics"].values()) > 0.3  # one of a hundred is 0.01
    apart, corrected, one, other = facts["apart"]
    assert apart <= one + other and apart > 0 and corrected == 0  # f(c) is one warp, and g begins at 0
    assert facts["spread"] < 1  # the forms differ less than the members


def shown(cell: Any) -> set[str]:
    """MIME types of what a cell displayed."""
    return {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
