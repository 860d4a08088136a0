"""Faces on the whole road: found once, embedded from the store, counted, looked at."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lab import Lab
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "extractors"))
import face_makers

from manifests import Manifest
from pipeline.engine.plan import Takes, make_plan
from pipeline.experiment import load
from pipeline.features import FeatureError, read_index
from pipeline.options import ConfigError
from pipeline.store import FeatureStore

MAIN, OTHER = (110.0, 120.0, 100.0), (260.0, 120.0, 60.0)
FILMS: dict[str, tuple[str, list[list[face_makers.Face]]]] = {
    "a1": ("anna", [[MAIN], [MAIN], []]),
    "a2": ("anna", [[OTHER], [MAIN, OTHER]]),
    "b1": ("b/b", [[], []]),
}


@pytest.fixture
def films(lab: Lab) -> Lab:
    """Three clips of two subjects with faces, and one file that is no film."""
    rows = []
    for name, (subject, scenes) in FILMS.items():
        face_makers.film(lab.folder / f"{name}.mkv", *scenes)
        rows.append({"clip_id": name, "subject": subject, "video": f"{name}.mkv"})
    (lab.folder / "bad.mkv").write_bytes(b"no film")
    rows.append({"clip_id": "bad", "subject": "anna", "video": "bad.mkv"})
    pd.DataFrame(rows).to_csv(lab.folder / "manifest.csv", index=False)
    lab.document = {
        "manifest": "manifest.csv",
        "features": {
            "emb": {"modality": "face", "extractor": "efficientface", "crops": "faces", "weights": "random"},
            "faces": {"modality": "face", "extractor": "faces"},
        },
    }
    lab.save()
    return lab


def ledger(lab: Lab, name: str = "ledger.csv", extractor: str = "faces") -> list[dict[str, str]]:
    (path,) = (lab.folder / "features" / extractor).glob(f"*/{name}")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shards(lab: Lab, extractor: str) -> dict[str, tuple[int, bytes]]:
    files = (lab.folder / "features" / extractor).glob("*/shard-*")
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_faces_are_found_counted_and_embedded_by_one_command(films: Lab) -> None:
    assert films.run("extract", "face", "--max-failed", "1") == 2
    assert "faces: 3 clips, 1 failed, 1 without a valid row (b1)" in films.out
    assert "7 frames, 3 with face, 3 without face, 1 others alone, 1 several faces, 2 tracks" in films.out
    assert "7 frames, 3 with face; by clip and subject" in films.out
    assert "emb: 3 windows of 0.31 GFLOP" in films.out  # the network sees no frame without a face
    assert (
        "failed: bad: MissingMediaError: feature 'faces' does not hold this clip; see its failures.csv"
        in films.out
    )
    assert [(r["clip_id"], r["subject"], r["frames"], r["with_face"]) for r in ledger(films)] == [
        ("a1", "anna", "3", "2"),
        ("a2", "anna", "2", "1"),
        ("b1", "b/b", "2", "0"),
    ]
    assert [tuple(r.values()) for r in ledger(films, "ledger-subjects.csv")] == [
        ("anna", "2", "5", "3", "1", "1", "1", "2"),
        ("b/b", "1", "2", "0", "2", "0", "0", "0"),
    ]
    workspace = load(films.folder / "experiment.yaml")
    index = read_index(workspace, "emb")
    features = FeatureStore(films.folder / index.folder)["a1", ""]
    assert features.valid.tolist() == [True, True, False]
    assert features.values[:2].any(axis=1).all()
    assert not features.values[2].any()


def test_a_second_run_makes_nothing_anew_and_other_crops_make_both(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    before = {e: shards(films, e) for e in ("faces", "efficientface")}
    assert films.run("extract", "face", "--max-failed", "1") == 2
    assert {e: shards(films, e) for e in before} == before
    assert films.run("extract", "face", "--max-failed", "1", "--set", "features.faces.margin=0.3") == 2
    assert "extracted before with another identity (margin: 0.1 -> 0.3)" in films.out
    assert "extracted before with another identity (pictures: " in films.out
    assert len(list((films.folder / "features" / "efficientface").iterdir())) == 2


def test_a_clip_that_is_mended_is_embedded_too(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    face_makers.film(films.folder / "bad.mkv", [MAIN])
    assert films.run("extract", "face", "--retry-failed") == 0
    assert "emb: 4 clips, 0 failed" in films.out
    # Without being asked to, too: other pictures are there now.
    (films.folder / "features" / "emb.json").unlink()
    assert films.run("extract", "face") == 0


def test_pictures_that_were_made_anew_are_embedded_anew(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    before = shards(films, "efficientface")
    face_makers.film(films.folder / "bad.mkv", [MAIN])
    everything = dict(films.document["features"])
    del films.document["features"]["emb"]  # as when the second half was interrupted
    films.save()
    assert films.run("extract", "face", "--retry-failed") == 0
    films.document["features"] = everything
    films.save()
    with pytest.raises(
        FeatureError, match="feature 'emb' was made of other pictures than 'faces' holds now; run"
    ):
        read_index(load(films.folder / "experiment.yaml"), "emb")
    assert films.run("extract", "face") == 0
    assert "emb: 4 clips, 0 failed" in films.out
    assert shards(films, "efficientface") != before
    read_index(load(films.folder / "experiment.yaml"), "emb")


def test_a_shard_of_embeddings_holds_as_much_as_its_faces_are_many(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    workspace = load(films.folder / "experiment.yaml")
    manifest = workspace.manifest()
    long = Manifest(manifest.frame.assign(duration=40 * 3600.0))
    plan = make_plan(workspace, long, Takes(long, workspace.root), "emb")
    assert plan.extractor.rows_per_second == 5
    assert len(plan.tasks) == 4  # 40 hours of rows of 4 kB do not fit into one


def test_a_ledger_that_is_damaged_is_made_anew(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    (record,) = (films.folder / "features" / "faces").glob("*/shard-00000.json")
    content = json.loads(record.read_text())
    for damaged in ({}, {**content["tally"], "frames": [1]}):
        record.chmod(0o644)
        record.write_text(json.dumps({**content, "tally": damaged}))
        assert films.run("extract", "face", "--max-failed", "1") == 2
        assert len(ledger(films)) == 3


def test_the_ledger_of_clips_that_all_fail_is_empty(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    for name in FILMS:
        (films.folder / f"{name}.mkv").write_bytes(b"no film any more")
    table = pd.read_csv(films.folder / "manifest.csv").assign(end=1.0)  # so that all are looked at again
    table.to_csv(films.folder / "manifest.csv", index=False)
    assert films.run("extract", "face", "--max-failed", "100%") == 2
    assert ledger(films) == ledger(films, "ledger-subjects.csv") == []


def test_embeddings_of_other_pictures_are_refused(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    index = films.folder / "features" / "faces.json"
    changed = json.loads(index.read_text())
    changed["shards"] = []
    index.write_text(json.dumps(changed))
    with pytest.raises(
        FeatureError, match="feature 'emb' was made of other pictures than 'faces' holds now; run"
    ):
        read_index(load(films.folder / "experiment.yaml"), "emb")


def test_the_media_may_be_gone_once_faces_are_stored(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    for path in films.folder.glob("a*.mkv"):
        path.unlink()
    assert films.run("extract", "face", "--max-failed", "1", "--set", "features.emb.seed=1") == 2
    assert "emb: 3 clips, 1 failed" in films.out


def test_nothing_is_stored_where_faces_are_found_anew(films: Lab) -> None:
    del films.document["features"]["faces"]
    spec = films.document["features"]["emb"]
    del spec["crops"]
    spec["detect"] = {"fps": 5}
    films.save()
    assert films.run("extract", "face", "--max-failed", "1") == 2
    assert not (films.folder / "features" / "faces").exists()
    assert [(r["frames"], r["with_face"]) for r in ledger(films, extractor="efficientface")] == [
        ("3", "2"), ("2", "1"), ("2", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        ("face", r"no feature 'face' in this experiment \(did you mean 'faces'\?\)"),
        (
            "emb",
            r"'emb' \(efficientface\) holds no pictures; name a feature whose extractor is `faces`",
        ),
    ],
)
def test_crops_that_are_not_there_are_named(films: Lab, crops: str, message: str) -> None:
    films.document["features"]["emb"]["crops"] = crops
    films.save()
    with pytest.raises(ConfigError, match=message):
        load(films.folder / "experiment.yaml")


@pytest.mark.parametrize(("key", "message"), [("smalest", "smalest"), ("fps", "fps")])
def test_settings_of_the_detector_are_checked(films: Lab, key: str, message: str) -> None:
    films.document["features"]["emb"] = {
        "modality": "face", "extractor": "efficientface", "weights": "random", "detect": {key: "x"},
    }  # fmt: skip
    films.save()
    with pytest.raises(ConfigError, match=r"features\.emb\.detect"):
        load(films.folder / "experiment.yaml")


def test_a_contact_sheet_shows_every_subject(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    assert films.run("store.__main__", "contact-sheet", "faces") == 0
    assert "wrote 2 sheets to contact-sheets: anna.jpg, b%2Fb.jpg" in films.out
    with Image.open(films.folder / "contact-sheets" / "anna.jpg") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (14 + 8 + 130, 5 * 116 + 4, 3)
    # Frames with a face show it: its skin is in the middle; the others are plain.
    middles = pixels[22 + 56 - 8 : 22 + 56 + 8, [4 + 116 * i + 30 for i in range(5)]].mean(axis=0)
    grey = np.ptp(middles, axis=1) < 8
    assert grey.tolist() == [False, False, True, True, False]


def test_a_contact_sheet_of_some_frames_takes_them_from_all_clips(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    assert films.run("store.__main__", "contact-sheet", "faces", "--frames", "2", "--out", "few") == 0
    with Image.open(films.folder / "few" / "anna.jpg") as sheet:
        assert sheet.size == (4 * 116 + 4, 14 + 8 + 130)


def test_clips_that_left_the_manifest_are_on_no_sheet(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    table = pd.read_csv(films.folder / "manifest.csv")
    table[table["clip_id"] != "b1"].to_csv(films.folder / "manifest.csv", index=False)
    assert films.run("store.__main__", "contact-sheet", "faces") == 0
    assert "wrote 1 sheets to contact-sheets: anna.jpg" in films.out


def test_subjects_of_any_name_get_a_sheet_of_their_own(films: Lab) -> None:
    table = pd.read_csv(films.folder / "manifest.csv")
    names = {"a1": "Я" * 43, "a2": "Я" * 44, "b1": "../x", "bad": "y"}
    table.assign(subject=table["clip_id"].map(names)).to_csv(films.folder / "manifest.csv", index=False)
    films.run("extract", "face", "--max-failed", "1")
    assert films.run("store.__main__", "contact-sheet", "faces") == 0
    sheets = [p.name for p in (films.folder / "contact-sheets").iterdir()]
    assert len(sheets) == 3
    assert "..%2Fx.jpg" in sheets
    assert max(map(len, sheets)) < 120


def test_a_contact_sheet_needs_pictures(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    assert films.run("store.__main__", "contact-sheet", "emb") == 1
    assert "feature 'emb' holds no pictures; name one whose extractor is `faces`" in films.err


def test_verify_and_gc_know_pictures(films: Lab) -> None:
    films.run("extract", "face", "--max-failed", "1")
    assert films.run("store.__main__", "verify") == 0
    (shard,) = (films.folder / "features" / "faces").glob("*/shard-00000.h5")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    assert films.run("store.__main__", "verify") == 2
    assert films.run("extract", "face", "--max-failed", "1") == 2
    assert films.run("store.__main__", "verify") == 0


def test_faces_of_a_folder_by_one_command(films: Lab) -> None:
    folder = films.folder / "films"
    folder.mkdir()
    face_makers.film(folder / "one.mkv", [MAIN], [])
    command = ("extract", "face", "--folder", "films")
    assert films.run(*command) == 0, films.err
    assert "faces: 1 clips, 0 failed" in films.out
    assert not (films.folder / "films-features/features/face.json").exists()
    again = (*command, "--out", "other", "--network", "efficientface", "--weights", "random")
    assert films.run(*again) == 0, films.err
    assert "face: efficientface, 1024 values, fp32 [UNTRAINED: random weights]" in films.out
    assert "face: 1 clips, 0 failed" in films.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("face", "--folder", ".", "--weights", "random"), "name the network that looks at faces"),
        (("audio", "--folder", "."), "--folder is for clip networks and faces, not for audio"),
        (("face", "--network", "hub"), "go with --folder"),
        (
            ("face", "--folder", ".", "--network", "efficientface", "--windows", "clip"),
            "features.face: efficientface has no option 'windows'",
        ),
    ],
)
def test_what_a_folder_of_faces_cannot_take_is_said(films: Lab, words: tuple[str, ...], message: str) -> None:
    assert films.run("extract", *words) == 1
    assert message in films.err
