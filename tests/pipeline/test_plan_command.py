import json
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from lab import Lab

sys.path.append(str(Path(__file__).parents[1] / "extractors"))
import face_makers
from clip_makers import tone, write_clip

from affectstack import AffectstackError
from pipeline import plan as command
from pipeline import probing
from pipeline.estimate import planned_bytes
from pipeline.experiment import load

RATE = 16000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure few copies: how good the figures are is not tested here."""
    monkeypatch.setattr(probing, "_COPIES", 3)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Hold every plan to leaving no temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # or the one of before would be used
    yield folder
    left = [path.name for path in folder.iterdir()]
    assert [
        name for name in left if not name.startswith("torchinductor_")
    ] == []  # which is PyTorch's to keep


@pytest.fixture
def voices(lab: Lab) -> Lab:
    """Six sounds of 0.5 to 3 s."""
    lengths = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    rows = []
    for i, seconds in enumerate(lengths):
        soundfile.write(lab.folder / f"v{i}.wav", tone(seconds, RATE), RATE)
        rows.append(
            {"clip_id": f"v{i}", "subject": "s", "audio": f"v{i}.wav", "duration": seconds if i else None}
        )
    pd.DataFrame(rows).to_csv(lab.folder / "manifest.csv", index=False)
    lab.document = {
        "manifest": "manifest.csv",
        "features": {"mel": {"modality": "audio", "extractor": "logmel"}},
    }
    lab.save()
    return lab


def row(lab: Lab, feature: str) -> list[str]:
    line = next(x for x in lab.out.splitlines() if x.startswith(f"{feature} "))
    return re.split(r" {2,}", line.strip())


def test_plan_extracts_nothing_but_says_what_extract_will_make(voices: Lab) -> None:
    assert voices.run("plan", "--workers", "1") == 0, voices.err
    assert "trying 3 of 6 clips, 1.0 to 3.0 s long" in voices.out
    assert not (voices.folder / "features").exists()
    _, clips, there, rows, each, gflop, _, size = row(voices, "mel")
    assert (clips, there, each, gflop) == ("6", "0 of 6", "-", "-")
    assert voices.out.rstrip().endswith("next: python -m pipeline.extract all")
    made = json.loads((voices.folder / "plan.json").read_text())
    assert voices.run("extract") == 0
    index = json.loads((voices.folder / "features/mel.json").read_text())
    (record,) = (voices.folder / index["folder"]).glob("shard-*.json")
    wrote = json.loads(record.read_text())
    assert int(rows) == pytest.approx(wrote["rows"], rel=0.02)
    (feature,) = made["waves"][0]["features"]
    assert feature["bytes"] == pytest.approx(wrote["bytes"] + record.stat().st_size, rel=0.05)
    assert re.search(r"  planned [\d.]+ s, took [\d.]+ s \([+-]\d+ %\)\n", voices.out)
    assert f"  mel: planned {size}, wrote " in voices.out
    # What is there is not planned again, and not held against that plan again.
    assert voices.run("extract") == 0
    assert "planned" not in voices.out
    assert voices.run("plan") == 0
    assert "all 6 clips are there already" in voices.out


def test_a_run_that_was_planned_otherwise_is_not_held_against_it(voices: Lab) -> None:
    assert voices.run("plan", "--workers", "1") == 0
    voices.document["features"]["mel"]["bands"] = 32
    voices.save()
    assert voices.run("extract") == 0
    assert "planned" not in voices.out


def test_finished_clips_are_subtracted(voices: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractors.logmel.LogMel.clips_per_shard", 2)
    assert voices.run("extract") == 0
    for path in voices.folder.glob("features/logmel/*/shard-00001*"):
        path.unlink()
    assert voices.run("plan", "--workers", "1", "--clips", "5") == 0
    assert "trying 2 of 2 clips" in voices.out
    assert row(voices, "mel")[1:3] == ["2", "4 of 6"]


def test_networks_say_their_operations_and_features_are_tried_together(lab: Lab) -> None:
    for i, seconds in enumerate((1, 2, 3)):
        write_clip(
            lab.folder / f"c{i}.mkv", 25 * seconds, sound=[(0, tone(seconds, RATE))], sound_codec="flac"
        )
    rows = [{"clip_id": f"c{i}", "subject": "s", "video": f"c{i}.mkv"} for i in range(3)]
    pd.DataFrame(rows).to_csv(lab.folder / "manifest.csv", index=False)
    network = {"modality": "video", "extractor": "x3d_xs", "weights": "random", "crop": 32, "short_side": 32}
    lab.document = {
        "manifest": "manifest.csv",
        "features": {
            "net": network,
            "mel": {"modality": "audio", "extractor": "logmel"},
            "made": {"modality": "au", "extractor": "fake"},
        },
    }
    lab.save()
    assert lab.run("plan", "--workers", "1") == 0, lab.err
    _, clips, _, count, each, gflop, _, _ = row(lab, "net")
    assert clips == "3"
    assert float(gflop) == pytest.approx(float(each) * int(count), abs=1)
    (wave,) = json.loads((lab.folder / "plan.json").read_text())["waves"]
    assert [f["feature"] for f in wave["features"]] == ["net", "mel", "made"]
    assert wave["seconds"] >= wave["start"] > 0
    assert [f["rows"] for f in wave["features"]][2] == 9
    assert lab.run("extract") == 0
    assert (
        int(count)
        == json.loads(next(lab.folder.glob("features/x3d_xs/*/shard-00000.json")).read_text())["rows"]
    )
    assert "planned" in lab.out


def test_a_feature_that_reads_another_is_tried_on_what_that_made(lab: Lab) -> None:
    face = (110.0, 120.0, 100.0)
    for name in ("a", "b"):
        face_makers.film(lab.folder / f"{name}.mkv", [face], [face])
    pd.DataFrame([{"clip_id": n, "subject": "s", "video": f"{n}.mkv"} for n in "ab"]).to_csv(
        lab.folder / "manifest.csv", index=False
    )
    network = {"modality": "face", "extractor": "efficientface", "weights": "random"}
    lab.document = {
        "manifest": "manifest.csv",
        "features": {
            "emb": {**network, "crops": "faces"},
            "emb2": {**network, "crops": "faces2"},
            "faces": {"modality": "face", "extractor": "faces"},
            "faces2": {"modality": "face", "extractor": "faces", "fps": 5.0},
        },
    }
    lab.save()
    assert lab.run("plan", "--workers", "1") == 0, lab.err
    first, second = json.loads((lab.folder / "plan.json").read_text())["waves"]
    assert [f["feature"] for f in first["features"]] == ["faces", "faces2"]
    assert [f["feature"] for f in second["features"]] == ["emb", "emb2"]
    assert [f["clips"] for f in second["features"]] == [2, 2]
    assert [f["rows"] for f in second["features"]] == [f["rows"] for f in first["features"]]
    assert second["seconds"] > second["start"] > 0
    assert lab.run("extract") == 0
    assert lab.out.count("planned ") == 2 + 4  # two waves, four features
    indexes = [json.loads((lab.folder / f"features/{n}.json").read_text()) for n in ("emb", "emb2")]
    assert [f["identity_sha256"] for f in second["features"]] == [i["identity_sha256"] for i in indexes]
    assert planned_bytes(load(lab.folder / "experiment.yaml")) == 0


def cost(work: float) -> probing.Cost:
    return probing.Cost(1.0, work, 0.0, 0.0)


def test_what_is_saved_is_told_by_clips_that_nobody_failed_on() -> None:
    together = {0: cost(2.0), 1: cost(2.0), 2: cost(9.0)}
    one, two = {0: cost(1.0), 1: cost(1.0), 2: cost(1.0)}, {0: cost(2.0), 1: cost(2.0)}
    assert command._left(together, [one, two]) == pytest.approx(4 / 6)
    assert command._left(together, [one, {}]) == 1
    assert command._left({}, [one]) == 1


def test_a_plan_that_breaks_leaves_no_temporary_files(
    voices: Lab, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    seen = []

    def breaks(*_: object) -> None:
        seen.extend(temporary.iterdir())
        raise AffectstackError("torn")

    monkeypatch.setattr(probing.Probe, "measure", breaks)
    assert voices.run("plan", "--workers", "1") == 1
    assert "torn" in voices.err
    assert [path.name.startswith("affectstack-plan-") for path in seen] == [True]


def test_media_that_cannot_be_opened_are_an_error(voices: Lab) -> None:
    for path in voices.folder.glob("*.wav"):
        path.write_bytes(b"no sound")
    assert voices.run("plan", "--workers", "1") == 2
    assert "feature 'mel': none of the clips could be extracted (DecodeError: " in voices.err
    assert "none of the 3 clips that were tried could be extracted" in voices.err
    assert not (voices.folder / "plan.json").exists()


def test_a_clip_that_cannot_be_opened_leaves_the_others(voices: Lab) -> None:
    (voices.folder / "v1.wav").write_bytes(b"no sound")
    assert voices.run("plan", "--workers", "1") == 0, voices.err
    assert row(voices, "mel")[1] == "6"


def test_a_plan_that_does_not_fit_the_disk_is_an_error(voices: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    assert voices.run("plan", "--workers", "1") == 2
    assert "do not fit: 0.00 MB are free in " in voices.err


def test_clips_of_all_lengths_are_tried() -> None:
    lengths = [5.0, 1.0, 4.0, 2.0, 3.0, 6.0]
    assert command._spread(range(6), lengths, 3) == [3, 2, 5]  # 2, 4 and 6 s
    assert command._spread(range(6), lengths, 1) == [2]
    assert sorted(command._spread(range(6), lengths, 9)) == [0, 1, 2, 3, 4, 5]


def test_a_modality_can_be_planned_alone(lab: Lab, change: Callable[..., None]) -> None:
    assert lab.run("plan", "au", "--workers", "1") == 0, lab.err
    assert row(lab, "one")[1] == "72"
    assert not any(line.startswith("two ") for line in lab.out.splitlines())
    assert lab.out.rstrip().endswith("next: python -m pipeline.extract au")
    assert lab.run("plan", "face") == 1
    assert "has no face features" in lab.err
