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


def write(name: str, command: str, rows: list[dict[str, Any]], notes: str) -> None:
    """Print a table, and store it with command, commit, versions and hardware as JSON and Markdown."""
    known = origin()
    facts = {
        "command": command,
        **known.pop("versions"),
        **{key: known[key] for key in ("commit", "hardware", "threads")},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"origin": facts, "rows": rows}, indent=1) + "\n")
    line = "; ".join(f"{key} {value}" for key, value in facts.items() if key != "command")
    text = f"# {name}\n\n{notes}\n\n{_table(rows)}\n\n`{command}`; {line}.\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_shown(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
