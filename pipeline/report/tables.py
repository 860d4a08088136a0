"""Tables as text, Markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_MARKDOWN = str.maketrans({**{c: f"\\{c}" for c in "\\`*_{}[]<>#|~&$"}, "\n": " ", "\r": " "})
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "–": "--",
        "±": r"$\pm$",
        "−": "$-$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "\n": " ",
        "\r": " ",
    }
)


class Form(StrEnum):
    """What tables are written as."""

    TEXT = "text"
    MD = "md"
    TEX = "tex"


@dataclass(frozen=True)
class Table:
    """A table whose cells are text already.

    Attributes:
        title: What it shows.
        columns: The heading of each column; the first names the rows.
        rows: One cell per column.
        note: What a reader must know, in sentences.
        strong: Numbers of the rows that stand out.
        wide: Numbers of the columns whose cells are sentences, which begin at the left and may be wrapped.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    strong: frozenset[int] = frozenset()
    wide: frozenset[int] = frozenset()

    def begins_left(self, column: int) -> bool:
        """Whether a column's cells begin at the left, as names and sentences do; numbers end at the right."""
        return column == 0 or column in self.wide


def write(tables: Sequence[Table], form: Form, heading: str = "") -> str:
    """Return tables as one text.

    Args:
        tables: In the order of reading.
        form: How they are written. LaTeX needs the package booktabs.
        heading: A title above all of them.
    """
    make = {Form.TEXT: _text, Form.MD: _markdown, Form.TEX: _latex}[form]
    above = {
        Form.TEXT: heading,
        Form.MD: f"# {heading.translate(_MARKDOWN)}",
        Form.TEX: f"% {_line(heading)}",
    }
    return "\n\n".join([*([above[form]] if heading else []), *(make(table) for table in tables)]) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(table: Table) -> str:
    rows = [[_line(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.ljust(w) if table.begins_left(i) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([table.title, *(line.rstrip() for line in lines), *([table.note] if table.note else [])])


def _markdown(table: Table) -> str:
    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [row([c.translate(_MARKDOWN) for c in table.columns])]
    lines.append(
        f"|{'|'.join('---' if table.begins_left(i) else '---:' for i in range(len(table.columns)))}|"
    )
    for i, cells in enumerate(table.rows):
        escaped = [c.translate(_MARKDOWN) for c in cells]
        lines.append(row([f"**{c}**" if c else c for c in escaped] if i in table.strong else escaped))
    note = ["", table.note.translate(_MARKDOWN)] if table.note else []
    return "\n".join([f"## {table.title.translate(_MARKDOWN)}", "", *lines, *note])


def _alignments(table: Table) -> str:
    """Return what LaTeX makes of each column; sentences share half of the line."""
    sentence = rf"p{{{0.5 / max(1, len(table.wide)):.2g}\linewidth}}"
    marks = ["l" if table.begins_left(i) else "r" for i in range(len(table.columns))]
    return "".join(sentence if i in table.wide else mark for i, mark in enumerate(marks))


def _latex(table: Table) -> str:
    def row(cells: Sequence[str]) -> str:
        # The braces end what is before: a row is looked at for a star and for `[` that belong to a command.
        return f"{{}}{' & '.join(cells)} \\\\"

    lines = [row([c.translate(_LATEX) for c in table.columns]), r"\midrule"]
    for i, cells in enumerate(table.rows):
        escaped = [c.translate(_LATEX) for c in cells]
        lines.append(row([rf"\textbf{{{c}}}" for c in escaped] if i in table.strong else escaped))
    caption = f"{table.title}. {table.note}" if table.note else f"{table.title}."
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{{_alignments(table)}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
