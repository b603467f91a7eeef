"""One HTML page about one or several runs, to be opened in a browser: ``python -m report weights --out build/report``.

It holds all that it shows and needs no network. Runs are given by folders: of a run, of a recipe's runs, or of many
recipes' runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from report.page.page import write_page
from report.runs import collect_all, tell_unreadable


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m report", description=__doc__, epilog="python -m report weights/small_base weights/small_dem/70"
    )
    parser.add_argument("runs", nargs="+", help="folders of runs; weights/<recipe>/<seed>, or above")
    parser.add_argument("--out", type=Path, default=Path("build/report"), help="folder of index.html, or an .html file")
    parser.add_argument("--baseline", metavar="RECIPE", help="what the others are compared with; the first if left out")
    options = parser.parse_args(arguments)
    try:
        runs = collect_all(options.runs)
        tell_unreadable(runs)
        print(write_page(runs, options.out, options.baseline))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
