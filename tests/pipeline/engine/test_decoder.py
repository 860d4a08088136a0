import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import clip_makers
import numpy as np
import pytest
from engine_lab import failure, job
from stand_ins import Doer, Stand, row

from affectstack import AffectstackError
from affectstack.hashing import clip_sha256
from extractors import Clip, Extractor, Features, reading
from extractors.audit import Audit
from extractors.contract import DecodeError, Window, WindowExtractor
from extractors.fake import Fake
from extractors.reading import frames_of, shown_of, sound_of
from pipeline.engine.decoder import work
from pipeline.engine.messages import Audited, Cut, Failed, Item, Job, Setup, Stop, Take, Whole


def done(job: Job, **extractors: Extractor) -> list[Item]:
    """Return what a worker sends for a job."""
    return list(work(job, Setup(extractors, 0)))


def test_features_of_whole_clips_are_sent() -> None:
    sent = done(job(3, "a", "b"), a=Fake(), b=Fake(seed=1), c=Fake(seed=2))
    assert [(type(i), i.feature) for i in sent if not isinstance(i, Stop)] == [(Whole, "a"), (Whole, "b")]  # type: ignore[union-attr]
    assert isinstance(sent[0], Whole)
    np.testing.assert_array_equal(sent[0].features.values, Fake().extract(Clip("c3")).values)


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("error", "DecodeError", "a fault was asked for"),
        ("nan", "BadFeaturesError", "value nan in row 0, column 0"),
        ("shape", "BadFeaturesError", "values are float32 [3, 7]; expected float32 [T, 8]"),
        ("type", "BadFeaturesError", "values are float64 [3, 8]; expected float32 [T, 8]"),
        ("empty", "TooShortError", "the extractor gave no rows"),
        ("bug", "KeyError", "'a bug was asked for' (a bug, in _bug of fake.py)"),
        ("memory", "LimitExceededError", "needs more memory than one clip may take"),
    ],
)
def test_what_goes_wrong_fails_this_clip_and_this_feature(fault: Any, kind: str, message: str) -> None:
    sent = done(job(0, "a", "b"), a=Fake(fault=fault, on=["c0"]), b=Fake())
    found = failure(sent)
    assert (found.feature, found.type, found.message) == ("a", kind, message)
    assert ("Traceback" in found.detail) == (fault == "bug")
    assert [i.feature for i in sent if isinstance(i, Whole)] == ["b"]


def test_noise_is_refused_where_the_clip_is_probed() -> None:
    noise = Fake(fault="noise", on=["c0"])
    assert [type(i) for i in done(job(0), x=noise)] == [Whole]
    found = failure(done(job(0, "x", probe=("x",)), x=noise))
    assert found.type == "BadFeaturesError"
    assert "two runs over the same clip gave different values" in found.message
    assert [type(i) for i in done(job(0, "x", probe=("x",)), x=Fake())] == [Whole]


def tell(_: Clip) -> float:
    raise AffectstackError("no program here")


def test_what_concerns_every_clip_stops_the_run() -> None:
    assert done(job(0), x=Doer(tell)) == [Stop("x", "no program here")]


def take(path: Path, sha256: str) -> Take:
    return Take(Clip("c0", path), sha256, (path,))


def test_a_file_that_changed_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    mine = take(path, clip_sha256([path]))
    assert [type(i) for i in done(Job(0, mine, ("x",)), x=Fake())] == [Whole]
    path.write_bytes(b"two")
    sent = done(Job(0, mine, ("x", "y")), x=Fake(), y=Stand())
    assert [(i.feature, i.type) for i in sent if isinstance(i, Failed)] == [
        ("x", "SourceChangedError"),
        ("y", "SourceChangedError"),
    ]
    assert len(sent) == 2
    assert isinstance(sent[0], Failed)
    assert "a.mp4 changed since the manifest was made" in sent[0].message
    assert "run python -m pipeline.init again" in sent[0].message


def test_a_file_that_is_absent_is_the_extractors_to_refuse(tmp_path: Path) -> None:
    absent = take(tmp_path / "a.mp4", "0" * 64)
    assert [type(i) for i in done(Job(0, absent, ("x",)), x=Fake())] == [Whole]


def test_a_file_that_cannot_be_read_fails_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "a.mp4")

    monkeypatch.setattr("pipeline.engine.decoder.clip_sha256", refuse)
    found = failure(done(Job(0, take(tmp_path, "0"), ("x",)), x=Fake(worker=True)))
    assert (found.type, "Permission denied" in found.message) == ("PermissionError", True)


def test_an_extractor_that_reads_no_media_does_not_care_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.engine.decoder.clip_sha256", lambda files: "another")
    (item,) = done(Job(0, take(tmp_path, "0"), ("x",)), x=Fake(worker=False))
    assert isinstance(item, Whole)


def test_the_network_that_is_furthest_behind_gets_its_window() -> None:
    sent = done(
        job(0, "slow", "fast"), slow=Stand(windows=2, seconds=3.0), fast=Stand(windows=6, seconds=1.0)
    )
    assert all(isinstance(i, Cut) for i in sent)
    assert [i.feature for i in sent if isinstance(i, Cut)] == [
        "slow", "fast", "fast", "fast", "slow", "fast", "fast", "fast",
    ]  # fmt: skip


def test_a_network_that_breaks_in_the_middle_leaves_the_others() -> None:
    sent = done(job(0, "a", "b"), a=Stand(windows=3, breaks=["c0"]), b=Stand(windows=3))
    assert [i.feature for i in sent if isinstance(i, Cut)].count("b") == 3
    assert (failure(sent).feature, failure(sent).type) == ("a", "TooShortError")


class Film(Stand):
    """A network over every frame of a clip's video."""

    def windows(self, clip: Clip) -> Iterator[Window]:
        for frame in frames_of(clip, 0.04):
            yield Window(frame.image, frame.time, frame.time + 0.04)


class Sound(Extractor):
    """Counts samples at a rate."""

    modality = "audio"
    feature_names = ("samples",)

    def __init__(self, rate: int) -> None:
        self.sound_rate = rate

    def identity(self) -> dict[str, Any]:
        return {}

    def extract(self, clip: Clip) -> Features:
        assert self.sound_rate is not None
        return row(len(sound_of(clip, self.sound_rate).samples))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of media files, in this process."""
    seen: list[str] = []

    def spy(name: str) -> Callable[..., Any]:
        real = getattr(reading, name)

        def call(*args: Any, **options: Any) -> Any:
            seen.append(name)
            return real(*args, **options)

        return call

    for name in ("decode", "read_waveform", "read_waveforms"):
        monkeypatch.setattr(reading, name, spy(name))
    return seen


def test_media_are_decoded_once_for_all_who_want_them(tmp_path: Path, reads: list[str]) -> None:
    path = clip_makers.write_clip(tmp_path / "a.mp4", 12, sound=[(0, clip_makers.tone(0.5, 16000))])
    wanted = {"a": Film(), "b": Film(), "c": Sound(16000), "d": Sound(8000), "e": Sound(16000)}
    together = done(Job(0, take(path, ""), tuple(wanted)), **wanted)
    assert sorted(reads) == ["decode", "read_waveforms"]
    assert {i.feature: int(i.features.values[0, 0]) for i in together if isinstance(i, Whole)} == {
        "c": 8192, "d": 4096, "e": 8192,
    }  # fmt: skip
    alone = [i for i in done(Job(0, take(path, ""), ("a",)), **wanted) if isinstance(i, Cut)]
    for name in ("a", "b"):
        mine = [i.window for i in together if isinstance(i, Cut) and i.feature == name]
        assert [w.start for w in mine] == [i.window.start for i in alone]
        for window, item in zip(mine, alone, strict=True):
            np.testing.assert_array_equal(window.data, item.window.data)


def test_media_that_break_in_the_middle_break_for_all_who_read_them(tmp_path: Path) -> None:
    frames = [np.random.default_rng(i).integers(0, 255, (64, 96, 3), np.uint8) for i in range(40)]
    path = clip_makers.write_clip(tmp_path / "a.mp4", frames, container_options={"movflags": "faststart"})
    clip_makers.cut(path, 0.6)
    sent = done(Job(0, take(path, ""), ("a", "b")), a=Film(), b=Film())
    failures = {i.feature: i.type for i in sent if isinstance(i, Failed)}
    assert failures == {"a": "DecodeError", "b": "DecodeError"}


def test_a_network_that_never_reads_does_not_stop_the_others() -> None:
    class Refuses(WindowExtractor):
        modality = "video"
        feature_names = ("x",)

        def identity(self) -> dict[str, Any]:
            return {}

        def windows(self, clip: Clip) -> Iterator[Window]:
            raise DecodeError("not this one")

        def embed(self, windows: Any) -> Any:
            raise AssertionError

    sent = done(job(0, "a", "b"), a=Refuses(), b=Stand())
    assert failure(sent).feature == "a"
    assert [type(i) for i in sent].count(Cut) == 3


@pytest.mark.parametrize("sent", [(), (Setup({}, 0),)], ids=["before the setup", "before its answer"])
def test_a_worker_whose_engine_has_ended_ends_without_a_word(sent: tuple[Setup, ...]) -> None:
    ours, theirs = Pipe()
    for item in sent:
        ours.send(item)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.engine.decoder", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stderr=subprocess.PIPE,
    )
    ours.close()
    theirs.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


class OtherPictures(Fake):
    """The same numbers every time, and another picture."""

    def extract(self, clip: Clip) -> Features:
        made = super().extract(clip)
        return replace(made, pictures=tuple(os.urandom(4) for _ in made.values))


def test_pictures_that_differ_are_noise_too() -> None:
    (sent,) = done(job(0, probe=("x",)), x=OtherPictures())
    assert isinstance(sent, Failed)
    assert "must be deterministic" in sent.message


class Frames(Extractor):
    """Counts the frames of a clip, decoded for itself alone."""

    modality = "face"
    feature_names = ("frames",)

    def identity(self) -> dict[str, Any]:
        return {}

    def extract(self, clip: Clip) -> Features:
        return row(sum(1 for _ in shown_of(clip, 0.04)))


def test_every_feature_is_told_what_its_own_decoding_found(tmp_path: Path) -> None:
    path = clip_makers.write_clip(tmp_path / "a.mp4", 12, sound=[(0, clip_makers.tone(0.5, 16000))])
    wanted: dict[str, Extractor] = {"net": Film(), "mel": Sound(16000), "own": Frames(), "none": Fake()}
    job = Job(0, take(path, ""), tuple(wanted), probe=("own", "mel"))
    sent = [i for i in done(job, **wanted) if isinstance(i, Audited)]
    found = {i.feature: i.audit for i in sent}
    assert len(sent) == len(found)
    assert {name: a.decoded_frames for name, a in found.items()} == {"net": 12, "mel": None, "own": 12}
    assert found["mel"].sound_seconds is not None


def test_an_audit_that_breaks_costs_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(_: Audit) -> None:
        raise ZeroDivisionError

    path = clip_makers.write_clip(tmp_path / "a.mp4", 12)
    monkeypatch.setattr(Audit, "found", torn)
    sent = done(Job(0, take(path, ""), ("own", "net")), own=Frames(), net=Film())
    assert {type(i) for i in sent} == {Whole, Cut}


def test_a_clip_that_fails_is_not_audited(tmp_path: Path) -> None:
    path = clip_makers.write_clip(tmp_path / "a.mp4", 12)
    sent = done(Job(0, take(path, ""), ("mel", "net")), mel=Sound(16000), net=Breaks())
    assert [type(i) for i in sent if not isinstance(i, Cut)] == [Failed, Failed]


class Breaks(Film):
    """Fails after it has read everything."""

    def windows(self, clip: Clip) -> Iterator[Window]:
        yield from super().windows(clip)
        raise DecodeError("in the end")
