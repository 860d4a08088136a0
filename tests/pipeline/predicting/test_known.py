"""Which clips of the corpus a file is."""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from manifests import Manifest
from pipeline.predicting.known import KnownClip, KnownFiles


def known(root: Path, *rows: dict[str, Any]) -> KnownFiles:
    """Return the files of a corpus whose manifest was made with hashes."""
    return KnownFiles(Manifest(pd.DataFrame(rows)).with_hashes(root), root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a.mp4", "a.wav", "b.mp4", "long.wav"):
        (folder / name).write_bytes(f"content {name:>8}".encode())  # all of one size
    return folder


def test_a_clip_of_one_file_is_known_though_that_file_is_gone(root: Path, tmp_path: Path) -> None:
    corpus = known(root, {"clip_id": "b", "subject": "s", "video": "b.mp4"})
    away = shutil.move(root / "b.mp4", tmp_path / "elsewhere.mp4")
    assert corpus.clips(away) == [KnownClip("b", "s", piece=False)]
    assert corpus.clips(root / "a.mp4") == corpus.clips(root / "b.mp4") == []


def test_each_file_of_a_clip_of_several_is_known(root: Path, tmp_path: Path) -> None:
    """The manifest has the hash of both together, which is that of no file."""
    corpus = known(root, {"clip_id": "a", "subject": "s", "video": "a.mp4", "audio": "a.wav"})
    for name in ("a.mp4", "a.wav"):
        copy = shutil.copy(root / name, tmp_path / f"copy of {name}")
        assert corpus.clips(Path(copy)) == corpus.clips(root / name) == [KnownClip("a", "s", piece=False)]
    assert corpus.clips(root / "b.mp4") == []


def test_all_clips_that_are_cut_from_a_file_are_known(root: Path, tmp_path: Path) -> None:
    corpus = known(
        root,
        {"clip_id": "one", "subject": "s", "audio": "long.wav", "start": 0, "end": 2},
        {"clip_id": "two", "subject": "t", "audio": "long.wav", "start": 2},
        {"clip_id": "other", "subject": "u", "video": "a.mp4", "audio": "long.wav", "end": 1},
    )
    copy = Path(shutil.copy(root / "long.wav", tmp_path / "copy.wav"))
    assert [(c.clip_id, c.subject, c.piece) for c in corpus.clips(copy)] == [
        ("one", "s", True),
        ("two", "t", True),
        ("other", "u", True),
    ]


def test_a_file_that_changed_since_or_has_another_name_is_still_that_file(root: Path, tmp_path: Path) -> None:
    corpus = known(root, {"clip_id": "b", "subject": "s", "video": "b.mp4"})
    (root / "b.mp4").write_bytes(b"a later cut")
    (tmp_path / "link.mp4").symlink_to(root / "b.mp4")
    os.link(root / "b.mp4", tmp_path / "hard.mp4")
    for path in (
        root / "b.mp4",
        root / ".." / "corpus" / "b.mp4",
        tmp_path / "link.mp4",
        tmp_path / "hard.mp4",
    ):
        assert [c.clip_id for c in corpus.clips(path)] == ["b"]


def test_a_manifest_without_hashes_or_media_is_no_obstacle(root: Path) -> None:
    rows = [{"clip_id": "a", "subject": "s", "video": "a.mp4"}, {"clip_id": "x", "subject": "s"}]
    corpus = KnownFiles(Manifest(pd.DataFrame(rows)), root)
    assert [c.clip_id for c in corpus.clips(root / "a.mp4")] == ["a"]
    assert corpus.clips(root / "b.mp4") == corpus.clips(root / "absent") == []
