"""Timelines as tables and pictures, whatever labels and files are called."""

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.predicting.prediction import Prediction, WindowResult
from pipeline.predicting.timeline import free_name, plot, printable, table

EVIL = ("=cmd()", "<script>alert(1)</script>", "$\\frac{$", "_hidden")
SHARES = dict(zip(EVIL, (0.4, 0.3, 0.2, 0.1), strict=True))


def made(*windows: dict[str, float] | None, seconds: float = 6.0) -> Prediction:
    step = seconds / len(windows)
    timeline = tuple(
        WindowResult(i * step, (i + 1) * step, own, ("a", "b") if own else ())
        for i, own in enumerate(windows)
    )
    return Prediction(Path("/x/clip.mp4"), seconds, SHARES, (), timeline, ())


def rows(prediction: Prediction, name: str = "clip.mp4") -> list[list[str]]:
    return list(csv.reader(io.StringIO(table(prediction, name).decode())))


def test_a_table_has_a_row_for_every_window() -> None:
    header, first, second = rows(made(SHARES, None))
    assert header == ["file", "start", "end", "label", *(f"p:{c}" for c in EVIL), "sources"]
    assert first[1:3] == ["0.000", "3.000"] and first[4:8] == ["0.400000", "0.300000", "0.200000", "0.100000"]
    assert first[-1] == "a b"
    assert second == ["clip.mp4", "3.000", "6.000", "", "", "", "", "", ""]


def test_no_cell_is_a_formula() -> None:
    for row in rows(made(SHARES), "=cmd()|'/c calc'!A0.mp4"):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert rows(made(SHARES))[1][3] == "'=cmd()"


def test_a_picture_shows_labels_as_text() -> None:
    drawn = plot(made(SHARES, SHARES), "<img onerror=x>.mp4")
    root = ElementTree.fromstring(drawn)
    texts = ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
    assert {*EVIL, "<img onerror=x>.mp4"} <= set(texts)
    assert not [e.tag for e in root.iter() if e.tag.endswith(("script", "img"))]


def test_a_picture_is_broken_where_nothing_is_known() -> None:
    def lines(*windows: dict[str, float] | None) -> int:
        return plot(made(*windows), "x").count(b"\nL ")

    assert lines(SHARES, SHARES, SHARES) - lines(SHARES, None, SHARES) == 2 * len(EVIL)
    plot(made(SHARES), "one window")
    plot(made(None, None), "nothing")


def test_file_names_are_plain_and_differ() -> None:
    paths = [Path(p) for p in ("a/clip.mp4", "b/clip.wav", "=x(1).mp4", "CLIP.mov", ".mp4", "../..")]
    names: list[str] = []
    for path in paths:
        names.append(free_name(path, names))
    assert names == ["clip", "clip-2", "_x_1_", "CLIP-3", "mp4", "recording"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é", "plain é"), ("a\x1b[31mb", "a\\x1b[31mb"), ("a\nb", "a\\nb"), ("\udcff", "\\udcff")],
)
def test_what_steers_a_terminal_is_shown_as_text(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_values_have_columns_of_their_own_and_no_likeliest_class() -> None:
    windows = (
        WindowResult(0.0, 1.0, {"arousal": 3.25, "valence": -1.0}, ("voice",)),
        WindowResult(1.0, 2.0, None, ()),
    )
    told = Prediction(Path("a.wav"), 2.0, {"arousal": 3.25, "valence": -1.0}, (), windows, (), of_values=True)
    header, first, second = table(told, "a.wav").decode().splitlines()
    assert header == "file,start,end,v:arousal,v:valence,sources"
    assert first == "a.wav,0.000,1.000,3.250000,-1.000000,voice"
    assert second == "a.wav,1.000,2.000,,,"
    assert b"value" in plot(told, "a.wav")
    document = told.as_json()
    assert document["values"] == {"arousal": 3.25, "valence": -1.0}
    assert not {"label", "confidence", "posteriors"} & set(document)
    assert [w["values"] for w in document["timeline"]] == [windows[0].posteriors, None]
