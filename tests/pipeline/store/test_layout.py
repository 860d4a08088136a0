import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import (
    COLUMNS,
    IDENTITY,
    NAMES,
    assert_equal,
    features,
    open_files,
    overwrite,
    put,
    stored_checksum,
    tamper,
)

from extractors import Features
from pipeline.store import (
    StoreCorruptError,
    StoreError,
    StoreUnsafeError,
    StoreVersionError,
    decode,
    encode,
    identity_sha256,
)
from pipeline.store.opening import open_shard

sys.path.append(str(Path(__file__).parents[2] / "extractors"))
from clip_makers import openings


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    put(tmp_path / "s.h5")
    return tmp_path / "s.h5"


def test_the_layout_is_the_documented_one(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert set(file) == set(COLUMNS)
        assert file["values"].shape == (8, 3)
        assert file["values"].dtype == np.float32
        assert file["intervals"].shape == (8, 2)
        assert file["intervals"].dtype == np.float64
        assert file["valid"].dtype == bool
        assert file["offsets"][:].tolist() == [0, 2, 7, 8]
        assert file["clip_id"].asstr()[:].tolist() == ["one", "two", "three"]
        assert file["view"].asstr()[:].tolist() == ["", "left", ""]
        assert file["feature_names"].asstr()[:].tolist() == list(NAMES)
        assert file["checksums"].dtype == np.uint64
        assert file["checksums"][:].tolist() == [stored_checksum(file[n].id) for n in COLUMNS[:-1]]
        assert all(file[name].fletcher32 for name in COLUMNS)
        assert dict(file.attrs) == {
            "encoding-type": b"affectstack-features",
            "encoding-version": 1,
            "identity-sha256": identity_sha256(IDENTITY).encode(),
            "extractor": "fake",
            "dim": 3,
            "identity": '{"extractor":"fake","layer":3}',
        }


def test_every_chunk_has_its_checksum(tmp_path: Path) -> None:
    put(tmp_path / "s.h5", [(("one", ""), features(3000, dim=300))], names=[f"f{i}" for i in range(300)])
    with h5py.File(tmp_path / "s.h5") as file:
        sums = file["checksums"][:].tolist()
        values = file["values"]
        assert values.id.get_num_chunks() > 10
        for i, first in enumerate(range(0, 3000, values.chunks[0])):
            body = values.id.read_direct_chunk((first, 0))[1][:-4]
            assert xxhash.xxh3_64_intdigest(body) == sums[i]
        assert len(sums) == sum(file[name].id.get_num_chunks() for name in COLUMNS[:-1])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    dim=st.integers(1, 300),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_is_encoded_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], dim: int, seed: int
) -> None:
    items = [((f"c{i}", "v" * (i % 2)), features(n, seed + i, dim)) for i, n in enumerate(rows)]
    names = [f"ü{i}" for i in range(dim)]
    path = tmp_path_factory.mktemp("s") / "s.h5"
    path.write_bytes(encode(items, IDENTITY, "f", names))
    block = decode(path, "f")
    assert block.keys == [key for key, _ in items]
    with open_shard(path) as shard:
        assert shard.names() == names
        assert shard.dim == dim
        for i, (_, wanted) in enumerate(items):
            assert_equal(block[i], wanted)
            assert_equal(shard.clip(i), wanted)


def test_ten_thousand_feature_names_and_a_long_identity_fit(tmp_path: Path) -> None:
    names = [f"a_rather_long_feature_name_{i}" for i in range(10_000)]
    identity = {"extractor": "fake", "trained_on": [f"a-rather-long-subject-{i}" for i in range(5000)]}
    put(tmp_path / "s.h5", [(("one", ""), features(1, dim=10_000))], names=names, identity=identity)
    with open_shard(tmp_path / "s.h5", identity_sha256(identity)) as shard:
        assert shard.names() == names


@pytest.mark.parametrize("share", [0.0, "one byte", 0.5, 0.99])
def test_a_cut_shard_is_a_readable_error(shard: Path, share: float | str) -> None:
    data = shard.read_bytes()
    overwrite(shard, data[:1] if share == "one byte" else data[: int(float(share) * len(data))])
    with pytest.raises(StoreCorruptError, match=r"s\.h5: damaged .*pipeline\.extract"):
        decode(shard)


def test_an_absent_shard_is_a_readable_error(tmp_path: Path) -> None:
    with pytest.raises(StoreCorruptError, match="No such file"):
        open_shard(tmp_path / "s.h5")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_flipped_byte_of_any_column_is_seen_without_the_sha256(shard: Path, name: str) -> None:
    column = ".*" if name == "checksums" else name
    with h5py.File(shard) as file:
        place = file[name].id.get_chunk_info(0)
    data = shard.read_bytes()
    for seed in range(40):
        at = place.byte_offset + int(np.random.default_rng(seed).integers(place.size - 4))
        changed = bytearray(data)
        changed[at] ^= 1 << seed % 8
        overwrite(shard, bytes(changed))
        with (
            pytest.raises(StoreCorruptError, match=f"{column}: the checksum of chunk 0 does not fit"),
            open_shard(shard) as opened,
        ):
            opened.read()
            opened.names()


def test_a_mutated_shard_is_read_right_or_refused(tmp_path: Path) -> None:
    """Flips in HDF5's own structures are the sha256's business; here they must only not crash."""
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom pipeline.store import StoreError, decode\n"
        "path = Path(sys.argv[1]); data = path.read_bytes(); path.chmod(0o644)\n"
        "for seed in range(600):\n"
        "    rng = np.random.default_rng(seed); changed = bytearray(data)\n"
        "    for at in rng.integers(len(data), size=1 + seed % 4): changed[at] ^= 1 << rng.integers(8)\n"
        "    path.write_bytes(changed)\n"
        "    try: decode(path)\n"
        "    except StoreError: pass\n"
    )
    put(tmp_path / "s.h5")
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "s.h5"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("attribute", "value", "error", "message"),
    [
        (
            "encoding-version",
            2,
            StoreVersionError,
            "encoding-version is 2; this affectstack reads 1. Upgrade",
        ),
        ("encoding-version", [1, 1], StoreVersionError, "encoding-version is None"),
        ("encoding-type", np.bytes_("other"), StoreError, "encoding-type is 'other'; expected"),
        ("encoding-type", "affectstack-features", StoreError, "encoding-type is None"),
        ("encoding-type", None, StoreError, "encoding-type is None"),
        ("identity-sha256", np.bytes_("0"), StoreError, "made by another extractor"),
    ],
)
def test_a_foreign_shard_is_refused(
    shard: Path, attribute: str, value: object, error: type[StoreError], message: str
) -> None:
    def change(file: h5py.File) -> None:
        del file.attrs[attribute]
        if value is not None:
            file.attrs[attribute] = value

    tamper(shard, change)
    with pytest.raises(error, match=message):
        open_shard(shard, identity_sha256(IDENTITY))


def test_a_giant_attribute_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w", libver="latest") as file:
        file.attrs["encoding-type"] = np.bytes_(b"x" * 50_000_000)
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(StoreError, match="encoding-type is None"):
        open_shard(tmp_path / "s.h5")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def replace(name: str, make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        make(file)

    return change


def dataset(
    name: str, shape: tuple[int, ...], dtype: object, **options: object
) -> Callable[[h5py.File], None]:
    """Put another dataset in place of a column."""
    return replace(
        name, lambda file: file.create_dataset(name, shape, dtype, **{"fletcher32": True, **options})
    )


def secret(file: h5py.File) -> str:
    """Return the path of the other file, which nobody may open."""
    return str(Path(file.filename).with_name("secret.h5"))


def external(file: h5py.File) -> None:
    file.create_dataset("values", (8, 3), "f4", external=[(secret(file), 0, 96)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((8, 3), "f4", maxshape=(None, 3))
    source = h5py.VirtualSource(secret(file), "values", (8, 3), "f4", maxshape=(None, 3))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("values", layout)


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external storage": (replace("values", external), "does not hold its data in chunks"),
    "virtual dataset": (replace("values", virtual), "does not hold its data in chunks"),
    "external link": (
        replace("values", lambda f: f.__setitem__("values", h5py.ExternalLink(secret(f), "values"))),
        "values is a link to another place",
    ),
    "soft link": (
        replace("valid", lambda f: f.__setitem__("valid", h5py.SoftLink("/values"))),
        "valid is a link to another place",
    ),
    "dangling soft link": (
        replace("valid", lambda f: f.__setitem__("valid", h5py.SoftLink("/nowhere"))),
        "valid is a link to another place",
    ),
    "group": (replace("view", lambda f: f.create_group("view")), "view is no dataset"),
    "named type": (
        replace("view", lambda f: f.__setitem__("view", np.dtype("S3"))),
        "view is no dataset",
    ),
    "4 TB": (dataset("values", (10**9, 1024), "f4", chunks=(1, 1024)), "more than the file's"),
    "giant chunks": (
        dataset("values", (8, 3), "f4", chunks=(10**8, 3), maxshape=(None, 3)),
        "more than the file's",
    ),
    "giant names": (
        dataset("feature_names", (3,), "S100000000", chunks=(1,), compression="gzip"),
        "more than the file's",
    ),
    "giant name chunks": (
        dataset("feature_names", (3,), "S8", chunks=(10**8,), maxshape=(None,), compression="gzip"),
        "more than the file's",
    ),
    "objects": (
        dataset("clip_id", (3,), h5py.string_dtype(), chunks=(3,), fletcher32=False),
        "clip_id is object",
    ),
    "variable lists": (
        dataset("clip_id", (3,), h5py.vlen_dtype("f4"), chunks=(3,), fletcher32=False),
        "clip_id is object",
    ),
    "references": (dataset("clip_id", (3,), h5py.ref_dtype, chunks=(3,)), "clip_id is object"),
    "compound": (dataset("values", (8, 3), [("x", "f4")], chunks=(8, 3)), "values is "),
    "float64": (dataset("values", (8, 3), "f8", chunks=(8, 3)), "values is float64"),
    "big endian": (dataset("values", (8, 3), ">f4", chunks=(8, 3)), "values is >f4"),
    "one axis": (dataset("values", (24,), "f4", chunks=(24,)), r"values is float32 \[24\]"),
    "scalar": (replace("valid", lambda f: f.create_dataset("valid", data=True)), "valid does not hold"),
    "nothing": (
        replace("valid", lambda f: f.create_dataset("valid", dtype="bool", data=h5py.Empty("bool"))),
        "valid does not hold",
    ),
    "split rows": (dataset("values", (8, 3), "f4", chunks=(8, 2)), "values is float32"),
    "contiguous": (
        replace("values", lambda f: f.create_dataset("values", (8, 3), "f4")),
        "does not hold its data in chunks",
    ),
    "no checksum": (dataset("values", (8, 3), "f4", chunks=(8, 3), fletcher32=False), "has filters"),
    "compressed": (dataset("values", (8, 3), "f4", chunks=(8, 3), compression="gzip"), "has filters"),
    "uncompressed names": (dataset("feature_names", (3,), "S1", chunks=(3,)), "has filters"),
    "shuffled": (dataset("values", (8, 3), "f4", chunks=(8, 3), shuffle=True), "has filters"),
    "wrong rows": (
        dataset("intervals", (7, 2), "f8", chunks=(7, 2)),
        r"intervals is \[7, 2\]; expected \[8, 2\]",
    ),
    "wrong names": (
        dataset("feature_names", (4,), "S1", chunks=(4,), compression="gzip"),
        r"feature_names is \[4\]; expected \[3\]",
    ),
    "wrong checksums": (
        dataset("checksums", (8,), "u8", chunks=(8,)),
        r"checksums is \[8\]; expected \[7\]",
    ),
    "wrong views": (dataset("view", (2,), "S1", chunks=(2,)), r"view is \[2\]; expected \[3\]"),
    "a/b": (lambda f: f.create_dataset("a/b", data=1), "holds 'a'"),
    "..": (lambda f: f.create_dataset("..", data=1), r"holds '\.\.'"),
    "absent column": (lambda f: f.__delitem__("view"), "holds 'checksums'"),
    "many names": (lambda f: [f.create_group(f"g{i:05d}") for i in range(20_000)], "holds 'checksums'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_shard_is_refused_before_anything_is_read(
    shard: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shard.with_name("secret.h5"))
    change, message = HOSTILE[kind]
    tamper(shard, change)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "preadv", lambda *_: pytest.fail("data were read"))
    with (
        openings(shard.with_name("secret.h5")) as opened,
        pytest.raises(StoreUnsafeError, match=message) as caught,
    ):
        open_shard(shard)
    assert opened == [0]
    assert len(str(caught.value)) < 600


def test_refusing_hostile_shards_takes_little_memory(tmp_path: Path) -> None:
    put(tmp_path / "secret.h5")
    for i, (change, _) in enumerate(HOSTILE.values()):
        put(tmp_path / f"{i}.h5")
        tamper(tmp_path / f"{i}.h5", change)  # type: ignore[arg-type]
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom pipeline.store import StoreError, decode\n"
        "usage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before, refused = usage(), 0\n"
        "for path in sys.argv[1:]:\n"
        "    try: decode(Path(path))\n"
        "    except StoreError: refused += 1\n"
        "print(refused, usage() - before)\n"
    )
    paths = [str(tmp_path / f"{i}.h5") for i in range(len(HOSTILE))]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    refused, grown = map(int, done.stdout.split())
    assert refused == len(HOSTILE)
    assert grown < 200


def odd_float() -> h5py.h5t.TypeID:
    """Return a number that no NumPy type can hold."""
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_fields(63, 33, 30, 0, 33)
    return kind


@pytest.mark.parametrize("kind", [h5py.h5t.UNIX_D32LE, odd_float()], ids=["time", "odd float"])
def test_types_that_numpy_does_not_know_are_refused(shard: Path, kind: h5py.h5t.TypeID) -> None:
    def make(file: h5py.File) -> None:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((8,))
        plan.set_fletcher32()
        h5py.h5d.create(file.id, b"valid", kind, h5py.h5s.create_simple((8,)), plan)

    tamper(shard, replace("valid", make))
    with pytest.raises(StoreCorruptError, match="damaged"):
        open_shard(shard)


@pytest.mark.parametrize("attribute", [True, False])
def test_words_that_are_no_utf8_are_refused(shard: Path, attribute: bool) -> None:
    def change(file: h5py.File) -> None:
        if attribute:
            file.attrs["encoding-type"] = np.bytes_(b"\xff")
        else:
            h5py.h5g.create(file.id, b"\xff")

    tamper(shard, change)
    with pytest.raises(StoreCorruptError, match="utf-8"):
        open_shard(shard)


def test_many_names_are_not_all_looked_at(shard: Path) -> None:
    import tracemalloc

    open_shard(shard).close()  # what is made once
    tamper(shard, HOSTILE["many names"][0])  # type: ignore[arg-type]
    tracemalloc.start()
    with pytest.raises(StoreUnsafeError):
        open_shard(shard)
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()


def test_chunks_that_were_never_written_are_an_error(shard: Path) -> None:
    tamper(shard, dataset("values", (8, 3), "f4", chunks=(8, 3)))
    with pytest.raises(StoreCorruptError, match="values: chunk 0 is absent"):
        decode(shard)


def test_a_pipe_in_place_of_a_shard_does_not_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.h5")
    with pytest.raises(StoreUnsafeError, match="is no file"):
        open_shard(tmp_path / "s.h5")


def put_column(name: str, data: object) -> Callable[[h5py.File], None]:
    array = np.asarray(data)

    def make(file: h5py.File) -> None:
        file.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)

    return replace(name, make)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put_column("offsets", np.array([0, 2, 7, 9])), "offsets do not fit"),
        (put_column("offsets", np.array([1, 2, 7, 8])), "offsets do not fit"),
        (put_column("offsets", np.array([0, 2, 8])), "offsets do not fit"),
        (put_column("offsets", np.array([0, 7, 2, 8])), "offsets do not rise"),
        (put_column("offsets", np.array([0, 2, 2, 8])), "offsets do not rise"),
        (put_column("offsets", np.array([0, 2**63 - 1, -2, 8])), "offsets do not rise"),
        (put_column("clip_id", np.array([b"one", b"one", b"one"])), "a clip is there twice"),
        (put_column("clip_id", np.array([b"one", b"\xff", b"two"])), "clip_id: 'utf-8' codec"),
    ],
)
def test_rows_that_no_clip_owns_are_refused(
    shard: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    tamper(shard, change, reseal=True)
    with pytest.raises(StoreCorruptError, match=message):
        open_shard(shard)


def test_a_refused_shard_leaves_no_file_open(shard: Path) -> None:
    before = open_files()
    overwrite(shard, shard.read_bytes()[:500])
    for _ in range(3):
        with pytest.raises(StoreError):
            open_shard(shard)
    put(shard)
    tamper(shard, lambda f: f.create_group("more"))
    with pytest.raises(StoreError):
        open_shard(shard)
    put(shard)
    decode(shard)
    assert open_files() == before


def test_features_of_a_block_are_views(shard: Path) -> None:
    block = decode(shard)
    assert isinstance(block[0], Features)
    assert block[0].values.base is block.values.base or np.shares_memory(block[0].values, block.values)
