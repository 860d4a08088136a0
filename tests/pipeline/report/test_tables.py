import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.report.tables import Form, Table, write

TABLE = Table(
    "A & b", ["source", "accuracy"], [["a_b|c", "51.2"], ["<script>", "7.0"]], "Of 5 %.", frozenset({1})
)


def test_text_aligns_numbers() -> None:
    assert write([TABLE], Form.TEXT, "run") == (
        "run\n\nA & b\nsource    accuracy\na_b|c         51.2\n<script>       7.0\nOf 5 %.\n"
    )


def test_markdown_escapes_what_would_be_markup() -> None:
    lines = write([TABLE], Form.MD).splitlines()
    assert lines[0] == r"## A \& b"
    assert lines[2:6] == [
        "| source | accuracy |",
        "|---|---:|",
        r"| a\_b\|c | 51.2 |",
        r"| **\<script\>** | **7.0** |",
    ]


def test_latex_escapes_what_would_be_a_command() -> None:
    text = write([TABLE], Form.TEX)
    assert r"\caption{A \& b. Of 5 \%.}" in text
    assert r"{}a\_b|c & 51.2 \\" in text
    assert r"\textbf{\textless{}script\textgreater{}} & \textbf{7.0} \\" in text
    evil = write([Table("t", ["x"], [["\\input{/etc/passwd}"]])], Form.TEX)
    assert re.search(r"\\input", evil) is None


def test_markdown_keeps_entities_and_dollars_as_they_are() -> None:
    text = write([Table("t", ["x"], [["&lt;b"], ["a$b$"]])], Form.MD)
    assert r"| \&lt;b |" in text
    assert r"| a\$b\$ |" in text


HOSTILE = Table(
    "t",
    ["[pt]", "found"],
    [["[laughter]", "1"], ["*", "2"], ["[3cm]", "a sentence " * 9]],
    "n",
    wide=frozenset({1}),
)


def test_rows_of_latex_begin_with_no_argument_of_a_command() -> None:
    lines = write([HOSTILE], Form.TEX).splitlines()
    for first, second in pairwise(lines):
        if first in (r"\toprule", r"\midrule") or first.endswith(r"\\"):
            assert second.startswith(("{}", "\\"))
    assert r"{}[laughter] & 1 \\" in lines
    assert r"{}* & 2 \\" in lines


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles(tmp_path: Path) -> None:
    tables = write([HOSTILE, TABLE], Form.TEX)
    document = ["\\documentclass{article}", "\\usepackage{booktabs}", "\\begin{document}", tables]
    (tmp_path / "a.tex").write_text("\n".join([*document, "\\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_sentences_begin_at_the_left() -> None:
    table = Table(
        "t", ["clip", "found", "n"], [["a", "cut short", "1"], ["b", "silent", "20"]], wide=frozenset({1})
    )
    assert write([table], Form.TEXT).splitlines()[1:] == [
        "clip  found       n",
        "a     cut short   1",
        "b     silent     20",
    ]
    assert "|---|---|---:|" in write([table], Form.MD)
    assert r"\begin{tabular}{lp{0.5\linewidth}r}" in write([table], Form.TEX)
    two = write([Table("t", ["a", "b"], [["x y", "z"]], wide=frozenset({0, 1}))], Form.TEX)
    assert r"{p{0.25\linewidth}p{0.25\linewidth}}" in two


@pytest.mark.parametrize("form", Form)
def test_a_cell_cannot_break_its_row(form: Form) -> None:
    broken = write([Table("t", ["x", "y"], [["a\nb", "1"]])], form)
    assert any("a b" in line and "1" in line for line in broken.splitlines())


def test_a_heading_stays_one_line() -> None:
    assert write([TABLE], Form.TEX, "x\ny").startswith("% x y\n")
