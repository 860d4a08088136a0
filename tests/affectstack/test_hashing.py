import hashlib
from pathlib import Path

from affectstack.hashing import clip_sha256


def test_hash_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    assert clip_sha256([tmp_path / "a.wav"]) == hashlib.sha256(b"sound").hexdigest()


def test_hash_of_several_files_depends_on_each_and_on_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    joined = hashlib.sha256(b"a").hexdigest() + hashlib.sha256(b"b").hexdigest()
    assert clip_sha256([tmp_path / "a", tmp_path / "b"]) == hashlib.sha256(joined.encode()).hexdigest()
    assert clip_sha256([tmp_path / "b", tmp_path / "a"]) != clip_sha256([tmp_path / "a", tmp_path / "b"])


def test_hash_is_empty_when_a_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert clip_sha256([]) == ""
    assert clip_sha256([tmp_path / "a", tmp_path / "none"]) == ""
