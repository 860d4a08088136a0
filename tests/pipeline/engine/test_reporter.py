import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from engine_lab import plan_of
from stand_ins import Doer, slow_first

from extractors import Clip
from pipeline import progress
from pipeline.engine.collect import Made
from pipeline.engine.messages import Failed, Job, Take
from pipeline.engine.reporter import Reporter
from pipeline.store import Failure, Record, StoreWriteError


def job(position: int, clip_id: str = "a", view: str = "", *, features: tuple[str, ...] = ("x",)) -> Job:
    return Job(position, Take(Clip(clip_id, view=view), "", ()), features)


def once(clips: int) -> dict[int, int]:
    """Say that one feature wants so many clips."""
    return dict.fromkeys(range(clips), 1)


def shard(tmp_path: Path, size: int = 2_000_000_000, failures: Sequence[Failure] = ()) -> Made:
    record = Record(
        ids=["a", "b"],
        views=["", ""],
        planned_sha256="p",
        identity={},
        identity_sha256="i",
        sha256="s" * 64,
        bytes=size,
        rows=9,
        failures=list(failures),
    )
    return Made(plan_of(Doer(slow_first), tmp_path, range(3)), 0, record)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_line_of_the_log_is_json_with_a_time_and_an_event(tmp_path: Path) -> None:
    log = tmp_path / "features/log.jsonl"
    with Reporter({0: 1, 1: 1, 2: 2}, log) as reporter:
        reporter.clip(job(0, "a"), 2.5, [])
        reporter.clip(job(1, "b", "left"), None, [Failed("x", "DecodeError", "nö\nline", "")])
        failures = [Failed("x", "KeyError", "bug", "Traceback …"), Failed("y", "E", "m")]
        reporter.clip(job(2, "c", features=("x", "y")), 1.0, failures)
        reporter.note("compiled")
        told = Failure("c", "", "KeyError", "bug")
        reporter.shard(shard(tmp_path, failures=[told, Failure("d", "", "BadFeaturesError", "no row")]))
    events = lines(log)
    for event in events:
        assert abs((datetime.fromisoformat(event.pop("time")) - datetime.now(UTC)).total_seconds()) < 60
    took = events[-1].pop("seconds")
    assert took >= 0
    assert events == [
        {"event": "start", "clips": 3},
        {"event": "failure", "clip_id": "b", "view": "left", "feature": "x", "type": "DecodeError",
         "message": "nö\nline"},
        {"event": "failure", "clip_id": "c", "view": "", "feature": "x", "type": "KeyError",
         "message": "bug", "traceback": "Traceback …"},
        {"event": "failure", "clip_id": "c", "view": "", "feature": "y", "type": "E", "message": "m"},
        {"event": "note", "text": "compiled"},
        {"event": "failure", "clip_id": "d", "view": "", "feature": "x", "type": "BadFeaturesError",
         "message": "no row"},
        {"event": "shard", "feature": "x", "shard": 0, "clips": 2, "failed": 2, "bytes": 2_000_000_000,
         "sha256": "s" * 64},
        {"event": "end", "done": 3, "clips": 3, "failed": 3, "media_seconds": 3.5,
         "bytes": 2_000_000_000, "reason": "done"},
    ]  # fmt: skip


def test_the_log_is_appended_to_and_says_why_a_run_ended(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Reporter(once(1), log):
        pass
    with pytest.raises(KeyboardInterrupt), Reporter(once(1), log):
        raise KeyboardInterrupt
    assert [(e["event"], e.get("reason")) for e in lines(log)] == [
        ("start", None), ("end", "done"), ("start", None), ("end", "KeyboardInterrupt"),
    ]  # fmt: skip


def test_lines_are_there_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Reporter(once(1), log) as reporter:
        reporter.note("now")
        assert [e["event"] for e in lines(log)] == ["start", "note"]


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_where_no_terminal_is_a_line_comes_now_and_then(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    with Reporter(once(100), log) as reporter:
        for i in range(20):
            clock.now += 1.0
            reporter.clip(job(i), 36.0, [Failed("x", "E", "m")] if i == 3 else [])
            if i == 4:
                reporter.shard(shard(tmp_path, 1_500_000_000))
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "  extract: 10/100 clips, 1.0/s, 36.0 h of media/h, 1.500 GB, 90 s left, 1 failed",
        "  extract: 20/100 clips, 1.0/s, 36.0 h of media/h, 1.500 GB, 80 s left, 1 failed",
        "  20.0 s, 1.0 clips/s, 36.0 h of media/h, 1.500 GB",
    ]
    assert [e["done"] for e in lines(log) if e["event"] == "progress"] == [10, 20]


def test_a_clip_counts_once_when_all_features_that_want_it_have_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    with Reporter({0: 3, 1: 3}, log) as reporter:
        for i in range(2):  # a table is looked up first
            reporter.clip(job(i, features=("table",)), 10.0, [Failed("table", "E", "m")] if i else [])
        assert reporter._state()["done"] == 0
        reporter.clip(job(0, features=("voice", "clip")), 10.0, [])
        assert reporter._state()["done"] == 1
        reporter.clip(job(1, features=("voice", "clip")), 10.0, [Failed("voice", "E", "m")])
    end = lines(log)[-1]
    assert (end["done"], end["clips"], end["failed"], end["media_seconds"]) == (2, 2, 1, 20.0)


def test_progress_is_logged_where_a_person_watches_a_bar(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    log = tmp_path / "log.jsonl"
    with Reporter(once(30), log) as reporter:
        for i in range(25):
            clock.now += 1.0
            reporter.clip(job(i), None, [])
    assert [e["done"] for e in lines(log) if e["event"] == "progress"] == [10, 20]


def test_hours_of_media_are_left_out_where_nobody_knows_them(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(once(2), tmp_path / "log.jsonl") as reporter:
        clock.now += 11.0
        reporter.clip(job(0), None, [])
    assert "h of media" not in capsys.readouterr().out


def test_nothing_done_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(once(0), tmp_path / "log.jsonl"):
        pass
    assert capsys.readouterr().out == ""


def test_a_log_that_cannot_be_opened_is_a_write_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    with (
        pytest.raises(StoreWriteError, match=r"cannot write .*log\.jsonl"),
        Reporter(once(1), tmp_path / "features/log.jsonl"),
    ):
        raise AssertionError


def test_a_full_disk_does_not_end_a_run_by_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(ZeroDivisionError), Reporter(once(1), full) as reporter:
        reporter.clip(job(0), 1.0, [Failed("x", "E", "m")])
        raise ZeroDivisionError
    with Reporter(once(1), full) as reporter:
        reporter.clip(job(0), 1.0, [])
    assert "clips/s" in capsys.readouterr().out
