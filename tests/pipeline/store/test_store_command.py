import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab
from shelf import IDENTITY, clips, features, overwrite, put, tamper

from pipeline.experiment import load
from pipeline.features import FeatureIndex, spec_as_json
from pipeline.store import (
    Failure,
    Verified,
    identity_sha256,
    read_record,
    record_path,
    shard_name,
    sweep_temporaries,
)
from pipeline.store.maintenance import store_folders

FINGERPRINT = identity_sha256(IDENTITY)
FOLDER = f"features/table/{FINGERPRINT[:12]}"
OLD = time.time() - 3 * 86400


@pytest.fixture
def store(lab: Lab) -> Path:
    """The lab with feature "one" extracted: two shards, one of a single clip, and one of failures."""
    folder = lab.folder / FOLDER
    put(folder / shard_name(0))
    put(folder / shard_name(1), [(("four", ""), features(4, 3, silent=True))])
    put(folder / shard_name(2), [], failures=[Failure("bad", "", "E", "m")])
    write_index(lab, "one", [shard_name(i) for i in range(3)])
    return folder


def write_index(lab: Lab, name: str, listed: list[str], **changes: object) -> None:
    workspace = load(lab.folder / "experiment.yaml")
    spec = spec_as_json(workspace, name) if name in workspace.experiment.features else {}
    index = FeatureIndex(name, spec, FOLDER, listed, IDENTITY, FINGERPRINT, [], True, 4, 1)
    index.write(workspace)
    if changes:
        path = lab.folder / f"features/{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (OLD, OLD))


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def temporary(folder: Path, process: int, *, old: bool = True) -> Path:
    path = folder / f".shard-00007.h5.{process}-{uuid.uuid4().hex}.tmp"
    path.write_bytes(b"half")
    if old:
        age(path)
    return path


def run(lab: Lab, *args: str) -> int:
    return lab.run("store.__main__", *args)


@pytest.mark.parametrize("command", [[], ["ls"], ["verify"], ["export"], ["gc"]])
def test_every_command_has_help(lab: Lab, command: list[str]) -> None:
    assert run(lab, *command, "--help") == 0
    assert "Usage" in lab.out


@pytest.mark.parametrize(
    "command", [["ls"], ["verify"], ["gc"], ["export", "four", "--format", "npy", "--out", "x"]]
)
def test_without_features_the_command_that_makes_them_is_named(lab: Lab, command: list[str]) -> None:
    assert run(lab, *command) == 1
    assert "run: python -m pipeline.extract all" in lab.err


def test_without_an_experiment_the_error_is_the_usual_one(lab: Lab) -> None:
    assert run(lab, "ls", "--experiment", "other.yaml") == 1
    assert "no other.yaml here" in lab.err


def test_ls_shows_every_store(lab: Lab, store: Path) -> None:
    put(
        lab.folder / "features/fake/0123456789ab" / shard_name(0),
        [(("x", ""), features(1, dim=7))],
        names=list("abcdefg"),
    )
    assert run(lab, "ls") == 0
    heading, *rows = (line.split() for line in lab.out.splitlines())
    assert heading == ["features", "store", "clips", "rows", "D", "failed", "silent", "MB"]
    assert rows[0] == ["unused", "fake/0123456789ab", "1", "1", "7", "0", "0", "0.0"]
    assert rows[1] == ["one", f"table/{FINGERPRINT[:12]}", "4", "12", "3", "1", "1", "0.1", "UNTRAINED"]


def test_verify_is_content_with_a_whole_store(lab: Lab, store: Path) -> None:
    assert run(lab, "verify") == 0, lab.err
    assert lab.out.startswith("verified 3 shards, 0.000 GB, 0 problems")
    assert "shard-00000.h5" in (store / "verified.json").read_text()
    (store / "failures.csv").touch()  # neither is a shard
    assert run(lab, "verify") == 0, lab.err


def break_shard(store: Path) -> None:
    data = bytearray((store / shard_name(0)).read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(store / shard_name(0), bytes(data))


def reseal(store: Path, **changes: object) -> None:
    """Forge the first record."""
    path = record_path(store / shard_name(0))
    overwrite(path, json.dumps(json.loads(path.read_text()) | changes).encode())


def other_clips(store: Path) -> None:
    reseal(store, views=["", "", ""])


def other_identity_in_shard(store: Path) -> None:
    record = put(store / shard_name(0), identity={"extractor": "other"})
    reseal(store, identity_sha256=FINGERPRINT, sha256=record.sha256, bytes=record.bytes)


def not_a_number(store: Path) -> None:
    bad = clips()
    put(store / shard_name(0), bad)
    from pipeline.store import encode

    bad[0][1].values[0, 0] = float("nan")
    data = encode(bad, IDENTITY, FINGERPRINT, ("a", "b", "c"))
    overwrite(store / shard_name(0), data)
    reseal(store, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def newer_shard(store: Path) -> None:
    path = store / shard_name(0)
    tamper(path, lambda file: file.attrs.__setitem__("encoding-version", 2))
    data = path.read_bytes()
    reseal(store, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


BROKEN = {
    "flipped": (break_shard, "shard-00000.h5: absent, cut or changed"),
    "cut": (lambda s: overwrite(s / shard_name(0), b"x"), "shard-00000.h5: absent, cut or changed"),
    "absent": (lambda s: (s / shard_name(0)).unlink(), "shard-00000.h5: absent, cut or changed"),
    "no record": (lambda s: record_path(s / shard_name(0)).unlink(), "shard-00000.json: absent or damaged"),
    "newer record": (lambda s: reseal(s, **{"encoding-version": 2}), "encoding-version is 2; this"),
    "newer shard": (newer_shard, "shard-00000.h5: encoding-version is 2; this"),
    "other identity": (lambda s: reseal(s, identity_sha256="0"), "00000.json: made by another extractor"),
    "other clips": (other_clips, "holds other clips than its record says"),
    "other identity in the shard": (other_identity_in_shard, "another extractor than its folder says"),
    "other rows": (lambda s: reseal(s, rows=7), "8 rows; its record says 7"),
    "clip twice": (lambda s: put(s / shard_name(1), clips()[:1]), "clip one is also in shard-00000.h5"),
    "not a number": (not_a_number, "value nan in row 0, column 0"),
    "unlisted": (lambda s: put(s / shard_name(5)), "shard-00005.h5: no feature lists it"),
}  # fmt: skip


def test_ls_opens_no_shard_that_has_changed(lab: Lab, store: Path) -> None:
    for i in range(2):
        path = store / shard_name(i)
        tamper(path, lambda file: file["values"].__setitem__((0, 0), 9))
    assert run(lab, "ls") == 0
    assert lab.out.splitlines()[1].split()[4] == "?"


@pytest.mark.parametrize("damage", [other_clips, lambda s: reseal(s, **{"encoding-version": 2})])
def test_ls_and_gc_pass_over_what_they_cannot_read(
    lab: Lab, store: Path, damage: Callable[[Path], None]
) -> None:
    damage(store)
    assert run(lab, "ls") == 0, lab.err
    assert lab.out.splitlines()[1].split()[4] == "3"
    assert run(lab, "gc", "--delete", "--days", "0") == 0, lab.err
    assert record_path(store / shard_name(0)).exists()


@pytest.mark.parametrize("kind", BROKEN)
def test_verify_names_what_is_damaged_and_what_to_do(lab: Lab, store: Path, kind: str) -> None:
    damage, message = BROKEN[kind]
    damage(store)
    assert run(lab, "verify", "one") == 2
    assert message in lab.err
    problems = 2 if kind == "unlisted" else 1  # a shard and its record
    assert len(lab.err.splitlines()) == problems
    assert f"{problems} problems" in lab.out
    advice = {k: "Upgrade" for k in BROKEN if "newer" in k} | {"unlisted": "pipeline.store gc"}
    assert advice.get(kind, "python -m pipeline.extract au") in lab.err
    assert not ("newer" in kind and "elete it" in lab.err)  # an upgrade will read it


def test_verify_finds_what_the_cache_believes_and_the_cache_learns(
    lab: Lab, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.store import verified

    assert run(lab, "verify") == 0
    path = store / shard_name(0)
    real = verified.file_sha256
    monkeypatch.setattr(verified, "file_sha256", lambda p: "rotten" if p.name == path.name else real(p))
    record = read_record(path)
    assert record is not None
    assert Verified(store).holds(path, record)
    assert run(lab, "verify") == 2
    assert not Verified(store).holds(path, record)


def test_verify_remembers_no_shard_whose_content_is_wrong(lab: Lab, store: Path) -> None:
    other_clips(store)
    assert run(lab, "verify") == 2
    assert shard_name(0) not in (store / "verified.json").read_text()


def test_unknown_names_get_a_suggestion(lab: Lab, store: Path) -> None:
    assert run(lab, "verify", "ona") == 1
    assert "no feature 'ona' was extracted here (did you mean 'one'?)" in lab.err
    assert run(lab, "export", "ona", "--format", "npy", "--out", "x") == 1
    assert "did you mean 'one'?" in lab.err


def test_export_writes_a_folder(lab: Lab, store: Path) -> None:
    assert run(lab, "export", "one", "--format", "npy", "--out", "out") == 0, lab.err
    assert "UNTRAINED" in lab.out
    assert "wrote out: 4 clips as npy, 1 failed clips are not in it" in lab.out
    assert (lab.folder / "out/two@left.npy").is_file()
    assert run(lab, "export", "one", "--format", "csv", "--out", "out") == 1
    assert "--force" in lab.err
    assert run(lab, "export", "one", "--format", "csv", "--out", "out", "--force") == 0


def test_export_wants_a_feature_that_is_there_and_up_to_date(lab: Lab, store: Path) -> None:
    assert run(lab, "export", "two", "--format", "npy", "--out", "out") == 1
    assert "feature 'two' was not extracted yet; run: python -m pipeline.extract audio" in lab.err
    write_index(lab, "one", [shard_name(0)], spec={"extractor": "other"})
    assert run(lab, "export", "one", "--format", "npy", "--out", "out") == 1
    assert "extracted with other settings" in lab.err


def test_features_of_other_experiment_files_can_be_exported(lab: Lab, store: Path) -> None:
    write_index(lab, "elsewhere", [shard_name(0)])
    assert run(lab, "export", "elsewhere", "--format", "csv", "--out", "out") == 0, lab.err


@pytest.mark.parametrize("wrong", [["--format", "xls"], ["--format", "npy", "--fps", "0"]])
def test_wrong_options_are_usage_errors(lab: Lab, store: Path, wrong: list[str]) -> None:
    assert run(lab, "export", "one", "--out", "out", *wrong) == 1


def test_gc_deletes_only_what_nobody_uses(lab: Lab, store: Path) -> None:
    unused = lab.folder / "features/table/0123456789ab"
    put(unused / shard_name(0))
    age(*unused.iterdir())
    stray = temporary(store, dead_process())
    put(store / shard_name(5))
    unlisted = [store / shard_name(5), record_path(store / shard_name(5))]
    widow = record_path(store / shard_name(0))
    (store / shard_name(0)).unlink()
    lone = store / shard_name(1)
    record_path(lone).unlink()
    mine = lab.folder / "features/notes/drafts"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").touch()
    age(*unlisted, widow, lone, mine / "thesis.txt")
    doomed = {unused, stray, *unlisted, widow, lone}

    assert run(lab, "gc") == 0
    assert all(path.exists() for path in doomed)
    listed = [line.split(": ")[0] for line in lab.out.splitlines()[:-1]]
    assert set(listed) == {str(p.relative_to(lab.folder)) for p in doomed}
    assert "delete with: python -m pipeline.store gc --delete" in lab.out

    assert run(lab, "gc", "--delete") == 0
    assert not any(path.exists() for path in doomed)
    assert (mine / "thesis.txt").exists()
    assert record_path(store / shard_name(2)).exists()  # every clip failed: it has no shard
    assert run(lab, "gc", "--days", "0") == 0
    assert lab.out == "nothing to delete\n"


def test_gc_finds_the_sound_that_finetune_decoded(lab: Lab, store: Path) -> None:
    cache = lab.folder / "finetune/sound/0123/generator"
    cache.mkdir(parents=True)
    (cache / "data.arrow").write_bytes(b"x" * 1000)
    assert run(lab, "gc", "--delete") == 0, lab.err
    assert cache.exists()  # it is young: a training may run on it
    for path in [cache / "data.arrow", cache, cache.parent]:
        os.utime(path, (0, 0))
    assert run(lab, "gc", "--delete") == 0, lab.err
    assert "decoded sound" in lab.out
    assert not cache.parent.exists()


def test_gc_leaves_what_is_young(lab: Lab, store: Path) -> None:
    unused = lab.folder / "features/table/0123456789ab"
    put(unused / shard_name(0))
    put(store / shard_name(5))
    temporary(store, dead_process(), old=False)
    assert run(lab, "gc", "--delete") == 0
    assert lab.out == "deleted 0.0 MB\n"
    assert run(lab, "gc", "--delete", "--days", "0") == 0
    assert not unused.exists()


def test_a_deleted_temporary_does_not_make_its_folder_young(lab: Lab, store: Path) -> None:
    unused = lab.folder / "features/table/0123456789ab"
    put(unused / shard_name(0))
    age(*unused.iterdir())
    temporary(unused, dead_process())
    assert run(lab, "gc", "--delete") == 0
    assert not unused.exists()


def test_gc_follows_no_links(lab: Lab, store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "0123456789ab"
    put(outside / shard_name(0))
    age(*outside.iterdir())
    (lab.folder / "features/table/0123456789ab").symlink_to(outside)
    (lab.folder / "features/linked").symlink_to(outside.parent)
    inside = lab.folder / "features/table/ba9876543210"
    put(inside / shard_name(0))
    (inside / "link").symlink_to(outside)
    age(*(p for p in inside.iterdir() if not p.is_symlink()))
    odd = store / shard_name(9)
    odd.symlink_to(outside)
    for link in (inside / "link", odd):
        os.utime(link, (OLD, OLD), follow_symlinks=False)
    put(outside / shard_name(1))  # young, and large
    overwrite(outside / shard_name(1), bytes(5_000_000))
    assert store_folders(lab.folder / "features") == sorted([store, inside])
    assert run(lab, "gc", "--delete") == 0
    assert lab.out.endswith("deleted 0.0 MB\n")
    assert not inside.exists()
    assert not odd.is_symlink()
    assert (outside / shard_name(0)).exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": 3},
        {"shards": ["../x.h5"]},
        {"shards": [3]},
        {"shards": ["x"]},
        {"more": 1},
        {"folder": "../x"},
    ],
)
def test_gc_and_verify_refuse_an_index_that_they_do_not_understand(
    lab: Lab, store: Path, changes: dict[str, object]
) -> None:
    write_index(lab, "one", [shard_name(0)], **changes)
    unused = lab.folder / "features/table/0123456789ab"
    put(unused / shard_name(0))
    for command in (["gc", "--delete", "--days", "0"], ["verify"]):
        assert run(lab, *command) == 1, lab.out
        assert "one" in lab.err
    assert unused.exists()


def test_gc_refuses_a_damaged_index(lab: Lab, store: Path) -> None:
    (lab.folder / "features/two.json").write_text("{")
    assert run(lab, "gc", "--delete") == 1
    assert "two.json: not readable as a feature's index" in lab.err


def test_sweeping_takes_old_temporaries_of_dead_processes(tmp_path: Path) -> None:
    dead = dead_process()
    swept = temporary(tmp_path, dead)
    kept = [
        temporary(tmp_path, os.getpid()),
        temporary(tmp_path, 1),  # alive, and not ours to signal unless we are root
        temporary(tmp_path, dead, old=False),
        tmp_path / ".notes.tmp",
        tmp_path / f"{swept.name[1:]}",
    ]
    for path in kept[3:]:
        path.touch()
        age(path)
    folder = tmp_path / f".x.{dead}-{uuid.uuid4().hex}.tmp"
    folder.mkdir()
    age(folder)
    assert sweep_temporaries(tmp_path) == 1
    assert not swept.exists()
    assert all(path.exists() for path in [*kept, folder])


def test_sweeping_takes_a_process_of_another_user_for_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    temporary(tmp_path, dead_process())
    monkeypatch.setattr(os, "kill", refuse)
    assert sweep_temporaries(tmp_path) == 0


def test_sweeping_an_absent_folder_does_nothing(tmp_path: Path) -> None:
    assert sweep_temporaries(tmp_path / "absent") == 0


def test_the_store_does_not_stand_on_the_features() -> None:
    script = "import sys, pipeline.store; sys.exit('pipeline.features' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0
