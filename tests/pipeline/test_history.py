import json
import sys
from pathlib import Path

import pytest
from lab import Lab

from pipeline import history


def test_every_stage_leaves_what_it_cost(lab: Lab) -> None:
    lab.all_stages()
    assert lab.run("fuse", "--set", "fusion.method=nonsense") == 1
    entries = history.read(lab.folder)
    assert [(e["command"], e["exit_code"]) for e in entries] == [
        ("python -m pipeline.extract --workers 1", 0),
        ("python -m pipeline.train_heads --workers 1", 0),
        ("python -m pipeline.fuse --report", 0),
    ]
    assert all(e["seconds"] >= 0 and e["cpu_seconds"] > 0 and e["peak_mb"] > 10 for e in entries)


def test_commands_that_only_look_leave_nothing(lab: Lab) -> None:
    assert lab.run("doctor") in (0, 2)
    assert history.read(lab.folder) == []


def test_a_stage_that_failed_says_so(lab: Lab) -> None:
    assert lab.run("train_heads") == 1  # nothing was extracted
    (entry,) = history.read(lab.folder)
    assert entry["exit_code"] == 1


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/x/pipeline/fuse.py", "fuse"),
        ("/x/pipeline/posteriors/__main__.py", "posteriors"),
        ("pipeline.fuse", "fuse"),
    ],
)
def test_a_command_is_named_as_it_is_typed(
    program: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "a b", "--set", "x=1"])
    watch = history.begin()
    history.opened(tmp_path)
    watch.stop(0)
    (entry,) = history.read(tmp_path)
    assert entry["command"] == f"python -m pipeline.{name} 'a b' --set x=1"


def test_lines_that_are_no_entry_are_left_out(tmp_path: Path) -> None:
    good = {"command": "c", "began": "b", "seconds": 1}
    lines = ["[]", "{", "\x00", json.dumps(good), '{"command": "half']
    (tmp_path / "history.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert history.read(tmp_path) == [good]
    assert history.read(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pipeline.fuse"])
    watch = history.begin()
    history.opened(tmp_path / "gone")
    watch.stop(0)
