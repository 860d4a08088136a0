import errno
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from lab import Lab

from extractors.fingerprint import SoundFingerprint
from manifests import CORPORA
from pipeline.duplicates import Pair, find_duplicates, fingerprints
from pipeline.duplicates.fingerprints import Fingerprints
from pipeline.experiment import load

sys.path.append(str(Path(__file__).parents[2] / "extractors"))  # the makers of clips and sounds
from clip_makers import write_clip
from sounds import RATE, voice, write_copy, write_sound

FILE = "features/fingerprints.parquet"


@pytest.fixture
def corpus(lab: Lab) -> Callable[..., Lab]:
    """Write clips of four subjects, voices that differ, and whatever a test adds to them."""

    def make(*rows: dict[str, Any], hashes: bool = True) -> Lab:
        root = lab.folder / "corpus"
        plain = []
        for i in range(4):
            write_sound(root / f"v{i}.wav", voice(i, 1.5))
            plain.append({"clip_id": f"v{i}", "subject": f"s{i}", "audio": f"v{i}.wav"})
        frame = pd.DataFrame([*plain, *rows])
        frame["emotion"] = [("angry", "happy")[i % 2] for i in range(len(frame))]
        frame.to_csv(lab.folder / "manifest.csv", index=False)
        lab.document |= {"root": "corpus", "classes": ["angry", "happy"], "folds": {"by": "subject", "k": 2}}
        lab.document |= {"features": {}, "heads": {}}
        lab.save()
        if hashes:
            space = load(lab.folder / "experiment.yaml")
            space.manifest().with_hashes(root).write_csv(lab.folder / "manifest.csv")
        return lab

    return make


def pairs(lab: Lab) -> list[Pair]:
    return find_duplicates(load(lab.folder / "experiment.yaml"), 1).pairs


def test_a_copy_in_a_video_file_of_another_subject_is_a_leak(corpus: Callable[..., Lab]) -> None:
    lab = corpus({"clip_id": "copy", "subject": "t", "video": "copy.mp4"})
    write_copy(lab.folder / "corpus/copy.mp4", voice(1, 1.5))
    (lab.folder / "manifest.csv").write_text((lab.folder / "manifest.csv").read_text())
    assert lab.run("duplicates.__main__", "--workers", "1") == 2
    (pair,) = pairs(lab)
    assert (pair.first, pair.second, pair.kind, pair.subjects) == ("v1", "copy", "same sound", ("s1", "t"))
    assert 0.85 < pair.similarity < 1
    folds = load(lab.folder / "experiment.yaml").folds(load(lab.folder / "experiment.yaml").manifest())
    divided = [f.index for f in folds if ("s1" in f.test) != ("t" in f.test)]
    assert list(pair.folds) == divided
    numbers = ", ".join(map(str, divided))
    assert f"1. A LEAK: folds that train on one copy and test on the other: {numbers}." in lab.out
    assert "5 of 5 clips compared by the sound of their first 120 s" in lab.out


def test_a_pair_that_these_folds_keep_together_is_no_leak_yet(corpus: Callable[..., Lab]) -> None:
    lab = corpus({"clip_id": "copy", "subject": "t", "audio": "copy.wav"})
    write_sound(lab.folder / "corpus/copy.wav", 0.5 * voice(1, 1.5))
    frame = pd.read_csv(lab.folder / "manifest.csv", dtype=str, keep_default_na=False)
    for held, leaking in (("s1 s0", 1), ("s1 t", 0)):
        frame["held"] = [str(int(s in held.split())) for s in frame["subject"]]
        frame.to_csv(lab.folder / "manifest.csv", index=False)
        lab.document["folds"] = "held"
        lab.save()
        found = find_duplicates(load(lab.folder / "experiment.yaml"), 1)
        assert (len(found.across), len(found.leaking), found.complete) == (1, leaking, True)
        assert lab.run("duplicates.__main__", "--workers", "1") == 2
        assert ("A LEAK: folds that train on one copy and test on the other: 0, 1." in lab.out) == leaking
        safe = "The folds of this experiment (column 'held') keep their copies on one side; other folds would"
        assert (safe in lab.out) != leaking
    lab.document["folds"] = "mmer"  # whose actors these subjects are not
    lab.save()
    assert lab.run("duplicates.__main__", "--workers", "1") == 2
    assert "No folds can be made here yet; other folds would leak" in lab.out


def test_equal_files_of_one_subject_are_no_leak(corpus: Callable[..., Lab]) -> None:
    lab = corpus({"clip_id": "again", "subject": "s2", "audio": "again.wav"})
    write_sound(lab.folder / "corpus/again.wav", voice(2, 1.5))
    assert lab.run("duplicates.__main__", "--workers", "1") == 0, lab.err
    assert pairs(lab) == [Pair("v2", "again", "same file", 1.0, ("s2", "s2"))]
    assert "pairs of one subject: 1. No leak" in lab.out


def test_equal_files_are_found_by_their_hashes_where_the_media_are_not(corpus: Callable[..., Lab]) -> None:
    lab = corpus()
    frame = pd.read_csv(lab.folder / "manifest.csv", dtype=str, keep_default_na=False)
    frame.loc[3, "sha256"] = frame.loc[0, "sha256"]
    frame.to_csv(lab.folder / "manifest.csv", index=False)
    (lab.folder / "corpus").rename(lab.folder / "elsewhere")
    found = find_duplicates(load(lab.folder / "experiment.yaml"))
    assert found.looked_at == 0
    assert "no such file" in found.reason
    assert [(p.first, p.second, p.kind, p.across) for p in found.pairs] == [("v0", "v3", "same file", True)]
    assert lab.run("duplicates.__main__") == 2
    assert "no sound was compared" in lab.out


@pytest.mark.parametrize("hashes", [True, False])
def test_a_second_look_listens_to_nothing(
    corpus: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, hashes: bool
) -> None:
    lab = corpus({"clip_id": "again", "subject": "t", "audio": "again.wav"}, hashes=hashes)
    write_sound(lab.folder / "corpus/again.wav", voice(2, 1.5))
    first = find_duplicates(load(lab.folder / "experiment.yaml"), 1)
    assert [p.kind for p in first.pairs] == ["same file"]
    monkeypatch.setattr("pipeline.duplicates.fingerprints.DecoderPool", None)
    assert find_duplicates(load(lab.folder / "experiment.yaml"), 1) == first


def test_what_changed_is_heard_again(corpus: Callable[..., Lab]) -> None:
    lab = corpus({"clip_id": "copy", "subject": "t", "audio": "copy.wav"}, hashes=False)
    write_sound(lab.folder / "corpus/copy.wav", 0.5 * voice(2, 1.5))
    assert len(pairs(lab)) == 1
    write_sound(lab.folder / "corpus/copy.wav", voice(9, 1.6))
    space = load(lab.folder / "experiment.yaml")
    assert len(Fingerprints(space, space.manifest()).todo()) == 1
    assert pairs(lab) == []


@pytest.mark.parametrize("damage", [b"", b"PAR1 not really", None])
def test_a_damaged_store_is_made_anew(corpus: Callable[..., Lab], damage: bytes | None) -> None:
    lab = corpus({"clip_id": "copy", "subject": "t", "audio": "copy.wav"}, hashes=False)
    write_sound(lab.folder / "corpus/copy.wav", 0.5 * voice(2, 1.5))
    before = pairs(lab)
    path = lab.folder / FILE
    if damage is None:  # whole, and not ours
        pd.DataFrame({"key": ["x"]}).to_parquet(path)
    else:
        path.write_bytes(damage)
    assert pairs(lab) == before
    assert len(before) == 1


def test_fingerprints_of_another_kind_are_made_anew(
    corpus: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = corpus()
    pairs(lab)
    space = load(lab.folder / "experiment.yaml")
    assert Fingerprints(space, space.manifest()).todo() == []
    monkeypatch.setattr(
        "pipeline.duplicates.fingerprints.SoundFingerprint", lambda: SoundFingerprint(loud=30)
    )
    assert Fingerprints(space, space.manifest()).todo() == [0, 1, 2, 3]


def test_silent_short_and_soundless_clips_match_nothing(corpus: Callable[..., Lab]) -> None:
    names = ("silent0", "silent1", "short0", "short1")
    lab = corpus(*({"clip_id": n, "subject": n, "audio": f"{n}.wav"} for n in names), hashes=False)
    silence = np.zeros(2 * RATE, np.float32)
    for i, name in enumerate(names):
        sound = silence[i:] if i < 2 else voice(0, 1.5)[2 * i : 2 * i + RATE // 4]
        write_sound(lab.folder / f"corpus/{name}.wav", sound)
    found = find_duplicates(load(lab.folder / "experiment.yaml"), 1)
    assert (found.pairs, found.looked_at, found.short, found.unread) == ([], 4, 4, {})


def test_clips_without_sound_are_counted(corpus: Callable[..., Lab]) -> None:
    lab = corpus(
        {"clip_id": "mute", "subject": "t", "video": "mute.mp4"}, {"clip_id": "none", "subject": "t"}
    )
    write_clip(lab.folder / "corpus/mute.mp4", 5)
    assert lab.run("duplicates.__main__", "--workers", "1") == 0, lab.err
    assert "4 of 6 clips compared by the sound of their first 120 s, 2 without sound" in lab.out
    assert "no clip is a copy of another" in lab.out


def test_a_file_that_cannot_be_read_costs_itself_and_is_named(corpus: Callable[..., Lab]) -> None:
    lab = corpus(
        {"clip_id": "bad", "subject": "t", "audio": "bad.wav"},
        {"clip_id": "gone", "subject": "t", "audio": "gone.wav"},
    )
    (lab.folder / "corpus/bad.wav").write_bytes(b"RIFF but no sound")
    assert lab.run("duplicates.__main__", "--workers", "1") == 2
    assert "4 of 6 clips compared by the sound of their first 120 s, 2 unreadable" in lab.out
    assert "not read: bad: DecodeError: bad.wav" in lab.out
    assert "not read: gone: DecodeError: gone.wav: no such file" in lab.out
    space = load(lab.folder / "experiment.yaml")
    assert (
        len(Fingerprints(space, space.manifest()).todo()) == 1
    )  # it is tried again; it may have been mended


@pytest.mark.parametrize("hashes", [True, False])
def test_files_that_the_system_refuses_cost_themselves(
    corpus: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, hashes: bool
) -> None:
    """What a manifest cannot follow it refuses; this is for a server that goes away afterwards."""
    lab = corpus(hashes=hashes)
    space = load(lab.folder / "experiment.yaml")
    manifest, really = space.labelled(), os.stat
    monkeypatch.setattr(space, "labelled", lambda: manifest)

    def refusing(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).endswith("v0.wav"):
            raise OSError(errno.EACCES, "Permission denied")
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refusing)
    found = find_duplicates(space, 1)
    assert found.unread == {"v0": "DecodeError: v0.wav: Permission denied"}
    assert not found.complete
    assert found.looked_at == 3


def test_folders_are_no_clips(corpus: Callable[..., Lab]) -> None:
    lab = corpus({"clip_id": "f", "subject": "t", "audio": "f.wav"}, hashes=False)
    (lab.folder / "corpus/f.wav").mkdir()
    found = find_duplicates(load(lab.folder / "experiment.yaml"), 1)
    assert found.unread == {"f": "DecodeError: f.wav: no plain file"}


def test_only_files_of_equal_length_are_hashed(
    corpus: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = corpus(
        {"clip_id": "again", "subject": "t", "audio": "again.wav"},
        {"clip_id": "long", "subject": "t", "audio": "long.wav"},
        hashes=False,
    )
    for i in range(4):
        write_sound(lab.folder / f"corpus/v{i}.wav", voice(i, 1.5 + i / 10))
    write_sound(lab.folder / "corpus/again.wav", voice(2, 1.7))
    write_sound(lab.folder / "corpus/long.wav", voice(7, 3.0))
    hashed = []
    really = fingerprints.clip_sha256

    def noted(files: Sequence[Path]) -> str:
        hashed.extend(f.name for f in files)
        return really(files)

    monkeypatch.setattr(fingerprints, "clip_sha256", noted)
    assert [p.kind for p in pairs(lab)] == ["same file"]
    assert sorted(hashed) == ["again.wav", "v2.wav"]
    assert [p.kind for p in pairs(lab)] == ["same file"]
    assert len(hashed) == 2  # they are kept
    shutil.copy(lab.folder / "corpus/long.wav", lab.folder / "corpus/late.wav")
    rows = (lab.folder / "manifest.csv").read_text().splitlines()
    rows.append(rows[-1].replace("long", "late"))
    (lab.folder / "manifest.csv").write_text("\n".join(rows))
    assert {(p.first, p.second, p.kind) for p in pairs(lab)} == {
        ("v2", "again", "same file"),
        ("long", "late", "same file"),
    }


def test_a_file_that_cannot_be_hashed_is_unread(
    corpus: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = corpus(hashes=False)

    def failing(files: Sequence[Path]) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fingerprints, "clip_sha256", failing)
    found = find_duplicates(load(lab.folder / "experiment.yaml"), 1)
    assert found.unread["v1"] == "DecodeError: v1.wav: Input/output error"
    assert (len(found.unread), found.looked_at, found.short) == (4, 0, 0)


def test_cameras_of_one_take_are_no_copies(corpus: Callable[..., Lab]) -> None:
    rows = [{"clip_id": "take", "subject": "t", "view": v, "audio": "take.wav"} for v in ("left", "right")]
    lab = corpus(*rows)
    write_sound(lab.folder / "corpus/take.wav", voice(5, 1.5))
    assert pairs(lab) == []


def test_pieces_of_one_file_are_compared_as_pieces(corpus: Callable[..., Lab]) -> None:
    times = {"one": (0.0, 2.0), "two": (2.0, 4.0), "again": (0.0, 2.0)}
    lab = corpus(
        *(
            {"clip_id": n, "subject": n, "audio": "long.wav", "start": a, "end": b}
            for n, (a, b) in times.items()
        ),
        hashes=False,
    )
    write_sound(lab.folder / "corpus/long.wav", voice(8, 4.0))
    assert [(p.first, p.second, p.kind) for p in pairs(lab)] == [("one", "again", "same file")]


def test_texts_that_are_equal_are_no_recordings(corpus: Callable[..., Lab]) -> None:
    lab = corpus(*({"clip_id": n, "subject": n, "text": f"{n}.txt"} for n in ("a", "b")))
    for name in ("a", "b"):
        (lab.folder / f"corpus/{name}.txt").write_text("Okay.")
    assert pairs(lab) == []


@pytest.mark.parametrize("form", ["md", "tex"])
def test_tables_for_a_paper(corpus: Callable[..., Lab], form: str) -> None:
    lab = corpus({"clip_id": "again_1", "subject": "s2", "audio": "again.wav"})
    write_sound(lab.folder / "corpus/again.wav", voice(2, 1.5))
    assert lab.run("duplicates.__main__", "--workers", "1", "--format", form) == 0
    assert r"again\_1" in lab.out
    assert lab.out.lstrip().startswith({"md": "##", "tex": r"\begin{table}"}[form])


@pytest.mark.slow
@pytest.mark.realdata
def test_ravdess_holds_one_recording_twice(real_data: Path, tmp_path: Path) -> None:
    """Two files of actor 7, repetitions by their names, are equal to the byte. Copies of others are found."""
    root = tmp_path / "corpus"
    shutil.copytree(real_data / "ravdess_speech_16k", root / "voices")
    reading = CORPORA["ravdess"]().read(real_data / "ravdess_speech_16k")
    frame = reading.manifest.frame.assign(audio=["voices/" + a for a in reading.manifest.frame["audio"]])
    copied = frame.iloc[100:1400:50].assign(subject="t", audio="")
    copied["video"] = [f"{c}.mp4" for c in copied["clip_id"]]
    for i, row in enumerate(copied.itertuples()):
        sound = soundfile.read(root / frame.loc[row.Index, "audio"], dtype="float32")[0]
        write_copy(root / row.video, sound, bits=(32000, 64000, 128000)[i % 3])
    copied["clip_id"] = ["copy-" + c for c in copied["clip_id"]]
    pd.concat([frame, copied]).to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "experiment.yaml").write_text("root: corpus\nfolds: {by: subject, k: 5}\n")
    found = find_duplicates(load(tmp_path / "experiment.yaml"))
    assert found.looked_at == 1440 + 26
    assert {(p.first, p.second) for p in found.across} == {
        (c.removeprefix("copy-"), c) for c in copied["clip_id"]
    }
    assert found.within == [Pair("01-03-01-02-01-07", "01-03-01-02-02-07", "same file", 1.0, ("07", "07"))]
