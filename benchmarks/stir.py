"""Our table of the STIR protocol beside the published one, of finished runs: ``python -m benchmarks.stir RUNS``.

The published numbers, in percent, come from the table of runs that was published with the study Just a Matter of Scale:
50 seeds of faces and 25 of digits. Its faces are those of another font, so only the order of systems can be compared.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import RESULTS, typed
from report.scale.figures import drawings
from report.scale.protocol import Protocol, ScaleRun, by_protocol, by_recipe, scale_runs
from report.scale.table import scale_table
from train.runs.errors import RunError
from train.runs.origin import origin
from train.runs.run import one_line_errors

PUBLISHED = Path(__file__).with_name("published_stir.csv")
SYSTEMS = "stir2_"  # what the names of our networks begin with


def published() -> dict[tuple[str, int, str], tuple[float, float]]:
    """Mean and standard deviation over seeds, by data, scenario and system."""
    with PUBLISHED.open() as file:
        return {
            (row["data"], int(row["scenario"]), row["system"]): (float(row["mean"]), float(row["std"]))
            for row in csv.DictReader(file)
        }


def comparison(protocol: Protocol, runs: Sequence[ScaleRun]) -> dict[str, dict[str, str]]:
    """By heading and recipe: what was published of the same system, and how many of its deviations lie between."""
    known, beside, apart = published(), {}, {}
    data = protocol.data.partition("-")[0]
    for recipe, own in by_recipe(runs).items():
        system = own[0].backbone.removeprefix(SYSTEMS)
        is_whole = protocol["evaluation.split"] in (None, "test") and protocol["evaluation.items"] is None
        config = own[0].config
        is_bare = is_whole and config["method"]["name"] == "none" and config["data"].get("rescale") is None
        found = known.get((data, protocol["data.scenario"], system)) if is_bare else None
        if found is not None:
            mean, deviation = found
            ours = 100 * statistics.fmean(run.metrics["accuracy"] for run in own)
            beside[recipe] = f"{mean:.1f} ± {deviation:.1f}"
            apart[recipe] = f"{(ours - mean) / deviation:+.1f}"
    return {"published, mean (%)": beside, "its deviations apart": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="folder that holds <recipe>/<seed>/summary.json")
    with one_line_errors():
        try:
            write_report(scale_runs(parser.parse_args().root))
        except ValueError as error:
            raise RunError(str(error)) from error


def write_report(runs: Sequence[ScaleRun]) -> None:
    """Print a table for every protocol, and store them and the figures beside the other results."""
    known = origin()
    facts = f"commit {known['commit']}; {known['hardware']}; torch {known['versions']['torch']}"
    parts = [
        f"## {protocol.title}\n\n{scale_table(own, 'markdown', comparison(protocol, own))}"
        for protocol, own in by_protocol(runs).items()
    ]
    text = "\n".join(["# stir", "", *parts, f"`{typed('stir')}`; {facts}.", ""])
    (RESULTS / "stir.md").write_text(text)
    print(text)
    for drawing in drawings(runs):
        drawing._replace(name=f"stir_{drawing.name}").write(RESULTS)


if __name__ == "__main__":
    main()
