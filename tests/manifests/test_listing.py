import os
from pathlib import Path

import pytest

from manifests import ManifestError
from manifests.listing import Takes, best_media, takes_below


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


def test_a_folder_without_takes_is_refused_with_what_it_has_instead(tmp_path: Path) -> None:
    takes = takes_below(tree(tmp_path, "x1.wav"), "TEST", by_suffix)
    with pytest.raises(ManifestError, match=r"no TEST files; left out files that begin with x: 1$"):
        takes.refuse_none(tmp_path, "TEST files")
    with pytest.raises(ManifestError, match="no TEST files$"):
        Takes().refuse_none(tmp_path, "TEST files")
    with pytest.raises(ManifestError, match="no such folder; give the TEST root with --root"):
        takes_below(tmp_path / "none", "TEST", by_suffix)


def test_of_several_formats_the_lossless_sound_is_chosen() -> None:
    files = {".mp3": "AudioMP3/a.mp3", ".wav": "AudioWAV/a.wav", ".flv": "VideoFlash/a.flv"}
    assert best_media(files) == {"audio": "AudioWAV/a.wav", "video": "VideoFlash/a.flv"}
    assert best_media({".mp3": "a.mp3"}) == {"audio": "a.mp3"}
