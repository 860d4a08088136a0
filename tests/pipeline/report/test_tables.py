import re

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
    assert lines[0] == "## A & b"
    assert lines[2:6] == [
        "| source | accuracy |",
        "|---|---:|",
        r"| a\_b\|c | 51.2 |",
        r"| **\<script\>** | **7.0** |",
    ]


def test_latex_escapes_what_would_be_a_command() -> None:
    text = write([TABLE], Form.TEX)
    assert r"\caption{A \& b. Of 5 \%.}" in text
    assert r"a\_b|c & 51.2 \\" in text
    assert r"\textbf{\textless{}script\textgreater{}} & \textbf{7.0} \\" in text
    evil = write([Table("t", ["x"], [["\\input{/etc/passwd}"]])], Form.TEX)
    assert re.search(r"\\input", evil) is None


@pytest.mark.parametrize("form", Form)
def test_a_cell_cannot_break_its_row(form: Form) -> None:
    broken = write([Table("t", ["x", "y"], [["a\nb", "1"]])], form)
    assert any("a b" in line and "1" in line for line in broken.splitlines())


def test_a_heading_stays_one_line() -> None:
    assert write([TABLE], Form.TEX, "x\ny").startswith("% x y\n")
