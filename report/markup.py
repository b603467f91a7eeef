"""Numbers and tables as text, Markdown, CSV, LaTeX or HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Literal, get_args

from evaluation.measures import unit_of

Format = Literal["text", "markdown", "csv", "latex", "html"]
Line = Sequence[str]
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$"}
)


def markup(headings: Line, lines: Sequence[Line], notes: Line, format: Format) -> str:
    """A table with a line of headings and notes below; CSV has no place for notes."""
    if format not in get_args(Format):
        raise ValueError(f"format is {format!r}; expected one of {', '.join(get_args(Format))}")
    if format == "csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([headings, *lines])
        return file.getvalue()
    write: Callable[[Line, Sequence[Line], Line], list[str]]
    write = {"text": _text, "markdown": _markdown, "latex": _latex, "html": _html}[format]
    return "\n".join(write(headings, lines, notes)) + "\n"


def heading(name: str) -> str:
    """The name of a metric, with the sign of the unit that ``number`` writes it in."""
    sign = unit_of(name).sign
    return f"{name} ({sign})" if sign else name


def number(name: str, value: float, *, signed: bool = False) -> str:
    """A value of a metric in its unit: shares in percent."""
    unit = unit_of(name)
    return f"{unit.times * value:{'+' if signed else ''}.{unit.decimals}f}"


def _text(headings: Line, lines: Sequence[Line], notes: Line) -> list[str]:
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    table = [headings, ["-" * width for width in widths], *lines]
    aligned = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(line[1:], widths[1:], strict=True))])
        for line in table
    ]
    return [*(line.rstrip() for line in aligned), *([""] if notes else []), *notes]


def _markdown(headings: Line, lines: Sequence[Line], notes: Line) -> list[str]:
    table = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table]
    return rows + [line for note in notes for line in ("", note)]


def _latex(headings: Line, lines: Sequence[Line], notes: Line) -> list[str]:
    rows = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in (headings, *lines)]
    return [
        rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
        r"\hline",
        rows[0],
        r"\hline",
        *rows[1:],
        r"\hline",
        r"\end{tabular}",
        *(rf"\par {note.translate(LATEX)}" for note in notes),
    ]


def _html(headings: Line, lines: Sequence[Line], notes: Line) -> list[str]:
    def row(cells: Line) -> str:
        first, *others = map(escape, cells)
        return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'

    above = "".join(f'<th scope="col">{escape(word)}</th>' for word in headings)
    return [
        f"<table><thead><tr>{above}</tr></thead>",
        "<tbody>",
        *map(row, lines),
        "</tbody></table>",
        *(f"<p>{escape(note)}</p>" for note in notes),
    ]
