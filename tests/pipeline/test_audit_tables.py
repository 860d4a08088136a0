"""The audit from decoding to `audit.csv`, its line on the console, and the table that reports read."""

import csv
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from lab import Lab

sys.path.append(str(Path(__file__).parents[1] / "extractors"))
from clip_makers import tone, write_clip

from extractors.audit import ClipAudit
from pipeline.audit import COLUMNS, _oddities, _remarks, _summary, odd, read_audit
from pipeline.experiment import load

RATE = 16000


@pytest.fixture
def films(lab: Lab) -> Lab:
    """Four clips with faults, one without, and one that is no film."""
    times = [0.0]
    for i in range(49):
        times.append(round(times[-1] + (0.03 if i % 2 else 0.05), 3))
    media = lab.folder / "media"
    media.mkdir()
    full = [(0.0, tone(2, RATE))]
    write_clip(media / "001.mkv", 50, sound=full, sound_codec="flac")
    write_clip(media / "NA.mkv", 50, times=times, sound=full, sound_codec="flac")
    write_clip(media / "short.mkv", 50, sound=[(0.0, tone(0.5, RATE))], sound_codec="flac")
    write_clip(media / "late.mkv", 50, sound=[(0.5, tone(1.5, RATE))], sound_codec="flac")
    lacking = [i / 25 for i in range(50) if i not in (20, 30)]
    write_clip(media / "gaps.mkv", 48, times=lacking, sound=full, sound_codec="flac")
    (media / "bad.mkv").write_bytes(b"no film")
    rows = [
        {"clip_id": p.stem, "subject": "s", "video": f"media/{p.name}"} for p in sorted(media.glob("*.mkv"))
    ]
    pd.DataFrame(rows).to_csv(lab.folder / "manifest.csv", index=False)
    network = {"modality": "video", "extractor": "x3d_xs", "weights": "random"}
    lab.document = {
        "manifest": "manifest.csv",
        "features": {
            "net": {**network, "crop": 32, "short_side": 32},
            "voice": {"modality": "audio", "extractor": "logmel"},
            "made": {"modality": "au", "extractor": "fake"},
        },
    }
    lab.save()
    return lab


def csv_rows(lab: Lab, extractor: str) -> list[dict[str, str]]:
    (path,) = (lab.folder / "features" / extractor).glob("*/audit.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(lab: Lab, extractor: str) -> dict[str, dict[str, str]]:
    return {row["clip_id"]: row for row in csv_rows(lab, extractor)}


def test_extract_audits_what_it_decodes(films: Lab) -> None:
    assert films.run("extract", "--max-failed", "1") == 2, films.err
    found = rows(films, "x3d_xs")
    assert list(found) == ["001", "NA", "gaps", "late", "short"]  # that which failed says so elsewhere
    assert list(found["001"]) == list(COLUMNS)
    assert found["001"]["remarks"] == ""
    assert (found["001"]["decoded_frames"], found["001"]["variable_rate"]) == ("50", "False")
    assert found["NA"]["remarks"] == "variable rate, 30.0 to 50.0 ms from frame to frame"
    assert (found["gaps"]["missing"], found["gaps"]["decoded_frames"]) == ("2", "48")
    assert "2 frames missing between the time stamps" in found["gaps"]["remarks"]
    assert "the sound ends 1.5" in found["short"]["remarks"]
    assert "the sound starts 0.50 s after the picture" in found["late"]["remarks"]
    heard = rows(films, "logmel")
    assert heard["short"]["decoded_frames"] == ""
    assert "the sound ends 1.5" in heard["short"]["remarks"]
    assert not list((films.folder / "features/fake").glob("*/audit.csv"))
    line = next(x for x in films.out.splitlines() if "audit: 4 of 5 clips: " in x)
    assert "1 of variable rate" in line
    assert "1 with frames missing" in line
    assert "1 whose sound starts after the picture (by 0.5 s)" in line
    assert line.endswith("/audit.csv")
    assert "made: 6 clips" in films.out

    table = read_audit(load(films.folder / "experiment.yaml"))
    assert list(table.columns) == ["feature", *COLUMNS]
    assert table["feature"].tolist() == ["net"] * 5 + ["voice"] * 5
    assert table["clip_id"].tolist()[:5] == ["001", "NA", "gaps", "late", "short"]
    assert table["view"].tolist() == [""] * 10
    assert table["variable_rate"].tolist()[:5] == [False, True, False, False, False]
    assert pd.isna(table["variable_rate"][5])
    assert table["missing"].sum() == 2
    assert table["start_difference"].dtype == float


def test_the_audit_outlives_a_resumed_run_and_shards_do_not_depend_on_it(films: Lab) -> None:
    films.document["features"].pop("voice")
    films.save()
    assert films.run("extract", "--max-failed", "1") == 2
    (path,) = films.folder.glob("features/x3d_xs/*/audit.csv")
    (shard,) = films.folder.glob("features/x3d_xs/*/shard-00000.h5")
    first, made = path.read_bytes(), shard.read_bytes()
    path.unlink()
    assert films.run("extract", "--max-failed", "1") == 2
    assert "6 of 6 clips are there already" in films.out
    assert path.read_bytes() == first
    # A record of before audits were made is read as it is, and gives no rows.
    record = shard.with_suffix(".json")
    document = json.loads(record.read_text())
    del document["audit"]
    record.chmod(0o644)
    record.write_text(json.dumps(document))
    path.unlink()
    assert films.run("extract", "--max-failed", "1") == 2
    assert "6 of 6 clips are there already" in films.out
    assert not path.exists()
    record.unlink()
    assert films.run("extract", "--max-failed", "1") == 2
    assert (shard.read_bytes(), path.read_bytes()) == (made, first)


def test_clips_that_were_extracted_before_there_was_an_audit_are_counted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractors.logmel.LogMel.clips_per_shard", 2)
    view_of_a_spreadsheet(lab)
    assert lab.run("extract") == 0, lab.err
    assert "before there was one" not in lab.out
    record = next(lab.folder.glob("features/logmel/*/shard-00000.json"))
    document = json.loads(record.read_text())
    del document["audit"]
    record.chmod(0o644)
    record.write_text(json.dumps(document))
    assert lab.run("extract") == 0
    assert "audit: 2 of 3 clips were extracted before there was one" in lab.out
    assert len(read_audit(load(lab.folder / "experiment.yaml"))) == 1


def test_a_view_is_no_formula(lab: Lab) -> None:
    view_of_a_spreadsheet(lab)
    assert lab.run("extract") == 0, lab.err
    assert [r["view"] for r in csv_rows(lab, "logmel")] == ["'=cmd()", "left", "''@x"]
    assert read_audit(load(lab.folder / "experiment.yaml"))["view"].tolist() == ["=cmd()", "left", "'@x"]


def view_of_a_spreadsheet(lab: Lab) -> None:
    """Make three clips of sound, one with a view that a spreadsheet would work out."""
    soundfile.write(lab.folder / "a.wav", tone(1, RATE), RATE)
    views = ["=cmd()", "left", "'@x"]
    table = pd.DataFrame({"clip_id": "a", "view": views, "subject": "s", "audio": "a.wav"})
    table.to_csv(lab.folder / "manifest.csv", index=False)
    lab.document = {
        "manifest": "manifest.csv",
        "features": {"voice": {"modality": "audio", "extractor": "logmel"}},
    }
    lab.save()


def test_an_experiment_without_audits_gives_an_empty_table(lab: Lab) -> None:
    workspace = load(lab.folder / "experiment.yaml")
    for _ in range(2):
        table = read_audit(workspace)
        assert (len(table), list(table.columns)) == (0, ["feature", *COLUMNS])
        assert table["missing"].dtype == "Int64"
        assert lab.run("extract") == 0  # of tables: no media


@pytest.mark.parametrize(
    "damage", ["", "clip_id\nx\n", "\xff\xfe", ",".join(COLUMNS) + "\na,,x,y,,,,,,,,,,\n"]
)
def test_a_damaged_table_is_no_trouble(lab: Lab, damage: str) -> None:
    soundfile.write(lab.folder / "a.wav", tone(1, RATE), RATE)
    (lab.folder / "manifest.csv").write_text("clip_id,subject,audio\na,s,a.wav\n")
    lab.document = {
        "manifest": "manifest.csv",
        "features": {"voice": {"modality": "audio", "extractor": "logmel"}},
    }
    lab.save()
    assert lab.run("extract") == 0, lab.err
    (path,) = lab.folder.glob("features/logmel/*/audit.csv")
    path.write_text(damage, encoding="latin-1")
    table = read_audit(load(lab.folder / "experiment.yaml"))
    assert len(table) == damage.startswith("clip_id,view")
    assert table["container_frames"].isna().all()


def remarks(**found: object) -> str:
    audit = ClipAudit(**found)  # type: ignore[arg-type]
    return _remarks(audit, list(_oddities(audit)))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"container_frames": 98, "decoded_frames": 95}, "95 frames, 98 by the header"),
        ({"container_frames": 98, "decoded_frames": 95, "partly": True}, "partly decoded"),
        ({"container_frames": 95, "decoded_frames": 95}, ""),
        ({"decoded_frames": 95, "repeated": 2}, ""),
        ({"decoded_frames": 95, "repeated": 3}, "3 of 95 frames repeat the one before"),
        ({"decoded_frames": 1000, "repeated": 9}, ""),
        ({"start_difference": 0.09, "end_difference": -0.24}, ""),
        ({"start_difference": -0.2}, "the sound starts 0.20 s before the picture"),
        ({"end_difference": 0.3}, "the sound ends 0.30 s after the picture"),
        (
            {"picture_seconds": 2.0, "stated_picture_seconds": 2.5},
            "2.00 s of picture, 2.50 s by the header",
        ),
        ({"sound_seconds": 100.0, "stated_sound_seconds": 101.0}, ""),
        ({"back": 1}, "time stamps go back, as where files were joined"),
        ({"back": 3}, "time stamps go back 3 times, as where files were joined"),
        ({"sound_gaps": 0.5}, "0.50 s of the sound are missing, and were filled with silence"),
        ({"first_time_stamp": 1.4}, "its time stamps begin at 1.40 s, which count as 0"),
    ],
)
def test_what_is_odd_is_said_in_words(found: dict[str, object], said: str) -> None:
    assert remarks(**found) == said


def test_the_line_counts_clips_by_what_is_odd_and_names_the_worst() -> None:
    ends = [list(_oddities(ClipAudit(end_difference=e))) for e in (-2.4, -0.6)]
    mixed = list(_oddities(ClipAudit(variable_rate=True, end_difference=-1.0)))
    assert _summary(3, [*ends, mixed, []]) == (
        "3 of 4 clips: 3 whose sound ends before the picture (by up to 2.4 s), 1 of variable rate"
    )
    assert _summary(0, [[], []]) == ""
    assert _summary(1, [ends[0]]) == "1 of 1 clips: 1 whose sound ends before the picture (by 2.4 s)"


@pytest.mark.parametrize(
    ("found", "is_odd"),
    [
        ({}, False),
        ({"partly": True}, False),
        ({"first_time_stamp": 1.4}, False),
        ({"first_time_stamp": 1.4, "partly": True}, False),
        ({"first_time_stamp": 1.4, "partly": True, "missing": 1}, True),
        ({"back": 1}, True),
        ({"variable_rate": True}, True),
        ({"sound_gaps": 0.5, "partly": True}, True),
        ({"container_frames": 98, "decoded_frames": 95}, True),
        ({"decoded_frames": 95, "repeated": 3}, True),
        ({"start_difference": -0.2}, True),
        ({"picture_seconds": 2.0, "stated_picture_seconds": 2.5}, True),
    ],
)
def test_what_explains_a_figure_is_not_odd(found: dict[str, object], is_odd: bool) -> None:
    table = pd.DataFrame({"remarks": [remarks(**found), ""]})
    assert odd(table).tolist() == [is_odd, False]
    assert bool(list(_oddities(ClipAudit(**found)))) == is_odd  # type: ignore[arg-type]


def test_nothing_is_odd_where_nothing_was_audited() -> None:
    assert odd(pd.DataFrame({"remarks": []})).tolist() == []
