"""Results that say where they come from."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from train.runs.origin import origin

RESULTS = Path(__file__).parent / "results"


def typed(name: str) -> str:
    """The command line that this process was started with."""
    return shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])


def write(
    name: str, command: str, rows: list[dict[str, Any]], notes: str, **more: tuple[str, list[dict[str, Any]]]
) -> None:
    """Print a table, and store it with command, commit, versions and hardware as JSON and Markdown.

    Args:
        name: of the two files.
        command: that makes them.
        rows: of the table.
        notes: on its columns.
        more: notes and rows of further tables, by their keys in the JSON; those without rows are left out.
    """
    known = origin()
    facts = {
        "command": command,
        **known.pop("versions"),
        **{key: known[key] for key in ("commit", "hardware", "threads")},
    }
    RESULTS.mkdir(exist_ok=True)
    tables = {"rows": (notes, rows), **more}
    told = {"origin": facts, **{key: rows for key, (_, rows) in tables.items()}}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    line = "; ".join(f"{key} {value}" for key, value in facts.items() if key != "command")
    shown = "\n\n".join(f"{notes}\n\n{_table(rows)}" for notes, rows in tables.values() if rows)
    text = f"# {name}\n\n{shown}\n\n`{command}`; {line}.\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_shown(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
