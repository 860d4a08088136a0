"""`python -m pipeline.predict` as a user runs it."""

import csv
import json
from pathlib import Path

import pytest
import trained as corpus
from lab import Lab

from pipeline.experiment import load

pytestmark = pytest.mark.slow  # trains an experiment first


@pytest.fixture
def at(lab: Lab, trained: Path) -> Lab:
    """The lab, in the folder of the trained experiment."""
    lab.folder = trained.parent
    return lab


def test_a_clip_is_told_of_with_all_sources(at: Lab, tmp_path: Path) -> None:
    clip = corpus.film(tmp_path / "=cmd()\x1b[31m<b>.mkv", corpus.CLASSES[0], 77)
    assert at.run("predict", str(clip), "--workers", "1") == 0, at.err
    first, shares, *rest = at.out.splitlines()
    assert first.startswith("=cmd()\\x1b[31m<b>.mkv: =cmd() ")
    assert "\x1b" not in at.out
    assert all(c in shares for c in corpus.CLASSES)
    assert [line.split(":")[0].strip() for line in rest[:7]] == ["used"] * 5 + ["not used"] * 2
    assert "not used: told-log (au): told.csv holds 'told' of the corpus' clips alone" in at.out
    assert "note: every source is the mean of its models of 2 folds" in at.out


def test_json_is_one_document_and_notes_are_apart(at: Lab, tmp_path: Path) -> None:
    clip = corpus.film(tmp_path / "clip.mkv", corpus.CLASSES[1], 77)
    bad = tmp_path / "bad.mkv"
    bad.write_text("no media")
    assert at.run("predict", str(bad), str(clip), "--json", "--window", "0.6", "--hop", "0.6") == 2
    refused, told = json.loads(at.out)
    assert refused["file"] == str(bad) and "not media" in refused["error"]
    assert told["label"] == corpus.CLASSES[1] and told["used"] == ["audio", "face"]
    assert [w["start"] for w in told["timeline"]] == [0.0, 0.6, 0.664]  # the sound goes on a little
    assert sum(told["posteriors"].values()) == pytest.approx(1)
    assert "error: bad.mkv: not media" in at.err
    assert "note: fused by logpool" in at.err


def test_timelines_are_written_as_tables_and_pictures(at: Lab, tmp_path: Path) -> None:
    clip = corpus.film(tmp_path / "=long.mkv", corpus.CLASSES[0], 78, faces=False, times=10)
    out = tmp_path / "out"
    assert at.run("predict", str(clip), "--out", str(out)) == 0, at.err
    assert sorted(p.name for p in out.iterdir()) == ["_long.csv", "_long.svg"]
    with (out / "_long.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 10
    assert {row["file"] for row in rows} == {"'=long.mkv"}
    assert {row["label"] for row in rows} == {"'=cmd()"}
    assert b"&lt;script&gt;" in (out / "_long.svg").read_bytes()
    assert "no face was found" in at.out


def test_nothing_is_written_into_the_experiment(at: Lab, trained: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in trained.parent.rglob("*")}
    clip = corpus.film(tmp_path / "clip.mkv", corpus.CLASSES[0], 79, faces=False)
    assert at.run("predict", str(clip)) == 0
    assert {p: p.stat().st_mtime_ns for p in trained.parent.rglob("*")} == before


def test_an_experiment_that_is_not_trained_names_the_command(lab: Lab) -> None:
    assert lab.run("predict", "clip.mp4") == 1
    assert "head 'one-log' was not trained yet; run: python -m pipeline.train_heads" in lab.err


@pytest.mark.realdata
def test_real_clips_are_predicted_from_what_they_have(at: Lab, trained: Path, real_data: Path) -> None:
    """A talking head with sound, a film without a face, and one whose sound is silent."""
    names = ("grid_av/id2_vcd_swwp2s.mpg", "edge_videos/no_face.mp4", "edge_videos/WolfgangLanger_Pexels.mp4")
    assert at.run("predict", *(str(real_data / name) for name in names), "--json", "--window", "2") == 0, (
        at.err
    )
    talking, faceless, silent = json.loads(at.out)
    assert talking["used"] == ["audio", "face"]
    assert faceless["used"] == ["audio"]
    assert silent["used"] == ["face"]
    reasons = {s["name"]: s["reason"] for s in silent["sources"] if s["posteriors"] is None}
    assert reasons["voice-log"] == "the sound is digital silence"
    assert load(trained).classes(load(trained).labelled()) == list(talking["posteriors"])
