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


def test_json_is_one_document_with_the_notes_of_each_file(at: Lab, tmp_path: Path) -> None:
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
    assert any(note.startswith("fused by logpool") for note in told["notes"])
    assert "note: " not in at.err


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


def test_every_file_has_its_own_notes_and_timeline(at: Lab, tmp_path: Path) -> None:
    """Of two files with one name, and of one that is refused, nobody could tell whose they are."""
    folders = [tmp_path / name for name in ("bad", "short", "long")]
    for folder in folders:
        folder.mkdir()
    bad, short, long = (folder / "talk.mkv" for folder in folders)
    bad.write_text("no media")
    corpus.film(short, corpus.CLASSES[0], 80, faces=False)
    corpus.film(long, corpus.CLASSES[0], 81, voice=False, times=10)
    files, out = [str(path) for path in (bad, short, long)], tmp_path / "out"
    assert at.run("predict", *files, "--out", str(out), "--workers", "1") == 2
    assert sorted(p.name for p in out.iterdir()) == ["talk-2.csv", "talk-2.svg", "talk.csv", "talk.svg"]
    lines = at.out.splitlines()
    first, second = (i for i, line in enumerate(lines) if line.startswith("talk.mkv: "))
    of_short, of_long = lines[first:second], lines[second:-2]
    assert any(line.startswith("  note: fused by logpool: voice-log + mel-net;") for line in of_short)
    assert any(line.startswith("  note: fused by logpool: face-log;") for line in of_long)
    for own, rows, name in ((of_short, 1, "talk.csv"), (of_long, 19, "talk-2.csv")):
        (told,) = [line for line in own if line.startswith("  timeline: ")]
        assert f"out/{name}, " in told
        assert len((out / name).read_text().splitlines()) == 1 + rows
    assert sum("windows of 1.20 s" in line for line in of_long) == 1 and "windows" not in "".join(of_short)
    assert lines[-2].startswith("note: every source is the mean") and lines[-1].startswith(
        "wrote the timelines"
    )
    assert at.run("predict", *files, "--out", str(out), "--workers", "1", "--json") == 2
    refused, *told = json.loads(at.out)
    assert "csv" not in refused
    assert [Path(one["csv"]).name for one in told] == ["talk.csv", "talk-2.csv"]
    assert [Path(one["svg"]).name for one in told] == ["talk.svg", "talk-2.svg"]


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
