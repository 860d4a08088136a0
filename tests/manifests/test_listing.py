import os
from pathlib import Path

import pytest

from manifests import ManifestError
from manifests.listing import Takes, takes_below


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def by_suffix(path: Path) -> tuple[str, str] | str:
    return "files that begin with x" if path.stem.startswith("x") else (path.stem, path.suffix.lower())


def test_files_of_one_name_are_one_take_wherever_they_lie(tmp_path: Path) -> None:
    takes = takes_below(tree(tmp_path, "v/a.FLV", "s/deep/a.wav", "b.mp4", "notes.csv"), "TEST", by_suffix)
    assert takes.files == {"a": {".flv": "v/a.FLV", ".wav": "s/deep/a.wav"}, "b": {".mp4": "b.mp4"}}
    assert takes.notes() == []


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    takes = takes_below(tree(tmp_path, "x1.wav", "x2.wav", "a.wav", "b/a.wav", "b\tc.wav"), "TEST", by_suffix)
    assert takes.files == {"a": {".wav": "a.wav"}}
    assert takes.notes() == [
        "left out files that begin with x: 2",
        "left out files whose path holds a control character: 1",
        "left out second copies of a take: 1",
    ]


def test_the_copy_that_is_kept_does_not_depend_on_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "b/a.wav", "c/a.wav", "a/a.wav")
    found = list(os.walk(tmp_path))
    for order in (found, found[::-1]):
        monkeypatch.setattr(os, "walk", lambda root, order=order: order)
        assert takes_below(tmp_path, "TEST", by_suffix).files == {"a": {".wav": "a/a.wav"}}


def test_an_error_about_nothing_says_what_was_left_out(tmp_path: Path) -> None:
    takes = takes_below(tree(tmp_path, "x1.wav"), "TEST", by_suffix)
    assert str(takes.none(Path("here"), "TEST files")) == (
        "here: no TEST files; left out files that begin with x: 1"
    )
    assert str(Takes().none(Path("here"), "TEST files")) == "here: no TEST files"


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such folder; give the TEST root with --root"):
        takes_below(tmp_path / "none", "TEST", by_suffix)


def test_of_several_formats_the_lossless_sound_is_chosen_and_the_others_are_counted() -> None:
    files = {".mp3": "AudioMP3/a.mp3", ".wav": "AudioWAV/a.wav", ".flv": "VideoFlash/a.flv"}
    takes = Takes({"a": files, "b": {".mp3": "b.mp3"}})
    assert takes.media("a") == {"audio": "AudioWAV/a.wav", "video": "VideoFlash/a.flv", "text": ""}
    assert takes.media("b") == {"audio": "b.mp3", "video": "", "text": ""}
    assert takes.notes() == ["left out other formats of a take: 1"]


def test_clips_and_labels_that_lack_each_other_are_counted() -> None:
    takes = Takes({"b": {}, "a": {}, "c": {}})
    assert takes.labelled({"b": 1, "a": 2, "x": 3, "y": 4}) == ["a", "b"]
    assert takes.notes() == [
        "left out clips without labels: 1",
        "left out labels of clips that are not there: 2",
    ]
    takes = Takes({"a": {}})
    assert takes.labelled(["a"]) == ["a"]
    assert takes.notes() == []
