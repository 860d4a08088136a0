from pathlib import Path

import pytest

from manifests import CORPORA, ManifestError
from manifests.folder import UNKNOWN, Folder


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_every_recording_is_a_clip_of_an_unknown_subject(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a/c.MOV", "d.wav", "notes.txt", "e.jpg")
    reading = Folder().read(tmp_path)
    frame = reading.manifest.frame.set_index("clip_id")
    assert frame.index.tolist() == ["c", "b", "d"]
    assert frame["video"].tolist() == ["a/c.MOV", "b.mp4", ""]
    assert frame["audio"].tolist() == ["", "", "d.wav"]
    assert set(frame["subject"]) == {UNKNOWN}
    assert (reading.classes, reading.notes) == ((), ["left out files of other kinds: 2"])


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "one/take.mp4", "two/take.mp4")
    assert Folder().read(tmp_path).manifest.frame["clip_id"].tolist() == ["one-take", "two-take"]


def test_paths_that_cannot_stand_in_a_manifest_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b\nc.mp4")
    reading = Folder().read(tmp_path)
    assert len(reading.manifest) == 1
    assert reading.notes == ["left out files whose path cannot stand in a manifest: 1"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(ManifestError, match=r"no video and no sound in it \(files that end with \.mp4"):
        Folder().read(tmp_path)
    with pytest.raises(ManifestError, match="no such folder"):
        Folder().read(tmp_path / "nowhere")


def test_it_is_known_by_name() -> None:
    assert CORPORA["folder"] is Folder
