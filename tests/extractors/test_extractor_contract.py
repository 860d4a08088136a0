"""What every extractor keeps, whoever wrote it."""

import hashlib
import inspect
import json
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import face_makers
import numpy as np
import pandas as pd
import pytest
from clip_makers import tone, write_clip

import extractors
from affectstack import AffectstackError
from extractors import EXTRACTORS
from extractors.contract import (
    BadFeaturesError,
    Clip,
    ClipError,
    Extractor,
    Features,
    FloatArray,
    MissingMediaError,
    TooShortError,
    Window,
    WindowExtractor,
    check_features,
)
from extractors.faces.settings import FaceSettings
from extractors.networks.zoo import ZOO
from extractors.openface import AU_COLUMNS


def features(rows: int = 3, dim: int = 4, **replaced: Any) -> Features:
    edges = np.arange(rows + 1, dtype=np.float64)
    parts = {
        "values": np.zeros((rows, dim), dtype=np.float32),
        "intervals": np.column_stack([edges[:-1], edges[1:]]),
        "valid": np.ones(rows, dtype=np.bool_),
    }
    return Features(**{**parts, **replaced})


def at(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    copy = array.copy()
    copy[index] = value
    return copy


GOOD = features()


def test_good_features_pass() -> None:
    check_features(GOOD, 4)


def test_rows_that_are_not_valid_and_intervals_of_no_length_pass() -> None:
    check_features(features(valid=np.zeros(3, dtype=np.bool_), intervals=np.zeros((3, 2))), 4)


VALUES, INTERVALS, VALID = GOOD.values, GOOD.intervals, GOOD.valid
BROKEN = [
    ("float64", {"values": VALUES.astype(np.float64)}, r"float64 \[3, 4\]; expected float32 \[T, 4\]"),
    ("float16", {"values": VALUES.astype(np.float16)}, "float16"),
    ("narrow", {"values": VALUES[:, :3]}, r"\[3, 3\]"),
    ("one axis", {"values": VALUES[0]}, r"\[4\]"),
    ("three axes", {"values": VALUES[None]}, r"\[1, 3, 4\]"),
    ("NaN", {"values": at(VALUES, (1, 2), np.nan)}, "value nan in row 1, column 2"),
    ("infinity", {"values": at(VALUES, (2, 0), -np.inf)}, "value -inf in row 2, column 0"),
    ("few intervals", {"intervals": INTERVALS[:2]}, r"intervals are float64 \[2, 2\]"),
    ("float32 intervals", {"intervals": INTERVALS.astype(np.float32)}, "intervals are float32"),
    ("starts alone", {"intervals": INTERVALS[:, 0]}, r"intervals are float64 \[3\]"),
    ("backwards", {"intervals": INTERVALS[:, ::-1]}, "ends before it starts"),
    ("NaN time", {"intervals": at(INTERVALS, (0, 1), np.nan)}, "not finite"),
    ("endless", {"intervals": at(INTERVALS, (2, 1), np.inf)}, "not finite"),
    ("0 and 1", {"valid": VALID.astype(np.uint8)}, r"valid is uint8 \[3\]; expected bool \[3\]"),
    ("few valid", {"valid": VALID[:2]}, r"valid is bool \[2\]"),
]


@pytest.mark.parametrize(("replaced", "found"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_contract_is_refused_by_what_was_found(replaced: dict[str, Any], found: str) -> None:
    with pytest.raises(BadFeaturesError, match=found):
        check_features(features(**replaced), 4)


def test_no_rows_are_too_short() -> None:
    with pytest.raises(TooShortError, match="no rows"):
        check_features(features(rows=0), 4)


def test_every_clip_error_is_readable_to_users() -> None:
    assert issubclass(ClipError, AffectstackError)


def test_a_clip_takes_its_sound_from_its_video() -> None:
    clip = Clip("a", video=Path("v.mp4"))
    assert clip.need_sound() == clip.need_video() == Path("v.mp4")
    assert Clip("a", video=Path("v.mp4"), audio=Path("s.wav")).need_sound() == Path("s.wav")


def test_a_clip_without_files_says_what_the_manifest_lacks() -> None:
    with pytest.raises(MissingMediaError, match="manifest names no video"):
        Clip("a", audio=Path("s.wav")).need_video()
    with pytest.raises(MissingMediaError, match="manifest names neither audio nor video"):
        Clip("a").need_sound()


def test_foreign_tables_may_call_a_clip_by_its_id_or_its_files() -> None:
    clip = Clip("a", video=Path("x/01-a.mp4"), audio=Path("y/03-a.wav"))
    assert clip.names == ("a", "01-a", "03-a")
    assert Clip("a", video=Path("a.mp4")).names == ("a",)


class Halves(WindowExtractor):
    """Windows of two numbers; odd windows give two rows, even ones one."""

    modality = "video"
    feature_names = ("sum", "last")
    seen: list[int]

    def __init__(self, count: int, batch: int = 1) -> None:
        self.count, self.batch, self.seen = count, batch, []

    def identity(self) -> dict[str, Any]:
        return {}

    def windows(self, clip: Clip) -> Iterator[Window]:
        for i in range(self.count):
            yield Window(np.array([i, i * i]), i * 1.0, i + 2.0, valid=i % 3 > 0)

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        self.seen.append(len(windows))
        row = [np.array([[w.data.sum(), w.data[1]]], dtype=np.float32) for w in windows]
        return [np.repeat(r, 1 + int(w.data[0]) % 2, axis=0) for r, w in zip(row, windows, strict=True)]

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield them from the last to the first."""
        order = list(range(len(windows)))[::-1]
        return (order[i : i + self.batch] for i in range(0, len(order), self.batch))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_windows_come_out_the_same_in_any_batch_and_order(count: int, batch: int) -> None:
    extractor, clip = Halves(count, batch), Clip("a")
    alone = extractor.extract(clip)
    windows = list(extractor.windows(clip))
    rows: dict[int, FloatArray] = {}
    for chosen in extractor.batches(windows):
        rows |= dict(zip(chosen, extractor.embed([windows[i] for i in chosen]), strict=True))
    found = extractor.assemble([(w.emptied(), rows[i]) for i, w in enumerate(windows)])
    for one in (alone, found):
        np.testing.assert_array_equal(one.values, np.concatenate([rows[i] for i in range(count)]))
        expected = [extractor.intervals(w, len(rows[i])) for i, w in enumerate(windows)]
        np.testing.assert_array_equal(one.intervals, np.concatenate(expected))
        assert one.valid.tolist() == [w.valid for i, w in enumerate(windows) for _ in rows[i]]
        check_features(one, 2)
    assert max(extractor.seen) <= batch


def test_a_clip_is_embedded_as_its_windows_come() -> None:
    """So memory does not grow with its length."""

    class Counts(Halves):
        def windows(self, clip: Clip) -> Iterator[Window]:
            for i, window in enumerate(super().windows(clip)):
                assert len(self.seen) == i
                yield window

    extractor = Counts(5)
    extractor.extract(Clip("a"))
    assert extractor.seen == [1] * 5


def test_a_window_without_its_data_is_the_same_window() -> None:
    window = Window(np.ones(9), 1.0, 2.0, valid=False, silent=True)
    left = window.emptied()
    assert (left.start, left.end, left.valid, left.silent, left.data.size) == (1.0, 2.0, False, True, 0)
    assert window.data.size == 9


def test_an_extractor_of_windows_allows_no_bfloat16_and_no_speed_up_by_itself() -> None:
    class Plain(Halves):
        batches = WindowExtractor.batches

    plain = Plain(3)
    assert (plain.allows_bf16, plain.precision, plain.look_ahead) == (False, "fp32", 1)
    assert plain.speed_up(10**6) == ""
    assert plain.windows_in(None) == plain.windows_in(9.0) == 1
    assert list(plain.batches(list(plain.windows(Clip("a"))))) == [[0], [1], [2]]


def test_rows_of_one_window_share_its_time_equally() -> None:
    found = Halves(0, 1).intervals(Window(np.zeros(1), 1.0, 3.0), 4)
    assert found.tolist() == [[1.0, 1.5], [1.5, 2.0], [2.0, 2.5], [2.5, 3.0]]


def test_no_window_is_too_short() -> None:
    with pytest.raises(TooShortError, match="no window fits"):
        Halves(0, 4).extract(Clip("a"))


@pytest.mark.parametrize("count", [0, 2])
def test_an_embedding_that_loses_or_adds_a_window_is_a_bug(count: int) -> None:
    class Miscounts(Halves):
        def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
            return super().embed(windows) * count

    with pytest.raises(ValueError, match="values to unpack"):
        Miscounts(3).extract(Clip("a"))


@pytest.fixture
def required(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The options without which an extractor cannot be asked for its identity here."""
    pd.DataFrame({"clip_id": ["a"], "other": ["a"], "x": [1.0], "y": [2.0], "ok": [1]}).to_csv(
        tmp_path / "one.csv", index=False
    )
    pd.DataFrame({"clip_id": ["a"], "x": [3.0], "y": [2.0]}).to_csv(tmp_path / "two.csv", index=False)
    for name, content in (("csv", "AU01_r\n1\n"), ("more", "AU01_r\n1\n2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(content)
    return {
        **{name: {"weights": "random"} for name in ZOO},
        **{name: {"weights": "random"} for name in ("wav2vec2", *FACES)},
        "table": {"path": tmp_path / "one.csv"},
    }


FACES = ("efficientface", "efficientnet_b2", "hub")

# For every option another value that changes what comes out. A new extractor or option must enter here.
CHANGES: dict[str, dict[str, Any]] = {
    "fake": {"dim": 9, "rows": 4, "seed": 1},
    "logmel": {"rate": 8000, "n_fft": 512, "hop": 128, "bands": 32, "low": 0.0, "high": 4000.0},
    "mfcc": {
        "rate": 16000, "n_fft": 1024, "hop": 256, "bands": 40, "coefficients": 13, "low": 50.0,
        "high": 8000.0, "seconds": 3.6,
    },
    "openface": {"csv_dir": "csv", "min_confidence": None},
    "opensmile": {"feature_set": "ComParE_2016", "level": "lld", "rate": 8000},
    **{
        name: {
            "fps": 25.0, "sampling_rate": 7, "stride": 16, "short_side": 500, "crop": 320, "min_fill": 0.7,
            "seed": 1, "windows": "clip", "resize": "square", "interpolation": "area", "triplet": 9,
        }
        for name in ZOO
    },
    "faces": {
        "fps": 2.0, "smallest": 0.2, "confidence": 0.8, "gap": 2.0, "margin": 0.2, "align": False, "size": 96,
        "quality": 90,
    },
    **{name: {"detect": FaceSettings(fps=2.0), "seed": 1} for name in FACES},
    "table": {
        "path": "two.csv", "key": "other", "key_pattern": "(.)", "columns": ["x"], "start": "x", "end": "y",
        "valid": "ok",
    },
    "wav2vec2": {"layer": 3, "pool": "max", "chunk": 20.0, "seed": 1},
}  # fmt: skip

# Options that change no value; `weights` has tests of its own.
SILENT = {
    "fake": {"modality", "fault", "on", "worker", "seconds", "shard", "trained_on"},
    "logmel": set(),
    "mfcc": set(),
    "openface": {"binary", "timeout"},
    "opensmile": set(),
    # `config` has a test of its own; `at` and `segments` matter to some kinds of windows alone.
    **{name: {"weights", "trained_on", "config", "at", "segments"} for name in ZOO},
    "faces": set(),
    **{name: {"weights", "trained_on", "crops"} for name in FACES},  # the plan adds what holds the crops
    "table": {"modality", "trained_on"},
    "wav2vec2": {"weights", "trained_on"},
}


def make(name: str, required: dict[str, dict[str, Any]], **options: Any) -> Extractor:
    return EXTRACTORS[name](**{**required.get(name, {}), **options})


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {str(k) for k in value}.union(*map(keys, value.values()))
    return set()


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_every_option_is_known_to_change_values_or_not(name: str) -> None:
    options = set(inspect.signature(EXTRACTORS[name]).parameters)
    assert options == set(CHANGES[name]) | SILENT[name]


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_identity_is_json_and_repeatable(name: str, required: dict[str, dict[str, Any]]) -> None:
    identity = make(name, required).identity()
    assert json.loads(json.dumps(identity, allow_nan=False)).keys() == identity.keys()
    assert make(name, required).identity() == identity


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_identity_is_free_of_how_and_where_it_runs(
    name: str, required: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    extractor = make(name, required)
    identity = extractor.identity()
    assert not keys(identity) & {
        "device",
        "batch",
        "batch_size",
        "workers",
        "threads",
        "timeout",
        "trained_on",
    }
    assert str(tmp_path) not in json.dumps(identity)
    if isinstance(extractor, WindowExtractor):
        extractor.look_ahead = 17
        assert extractor.identity() == identity


@pytest.mark.parametrize(("name", "option"), [(n, o) for n in CHANGES for o in CHANGES[n]])
def test_identity_changes_with_every_option_that_changes_values(
    name: str, option: str, required: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    value = CHANGES[name][option]
    value = tmp_path / value if option in ("path", "csv_dir") else value
    partner = {"start": {"end": "y"}, "end": {"start": "x"}} if name == "table" else {}
    changed = make(name, required, **{option: value, **partner.get(option, {})}).identity()
    assert changed != make(name, required).identity()


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_feature_names_are_known_at_once_and_distinct(name: str, required: dict[str, dict[str, Any]]) -> None:
    extractor = make(name, required)
    assert extractor.dim == len(extractor.feature_names) == len(set(extractor.feature_names)) > 0
    assert all(isinstance(n, str) for n in extractor.feature_names)


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_every_extractor_says_what_it_reads(name: str, required: dict[str, dict[str, Any]]) -> None:
    extractor = make(name, required)
    assert extractor.modality in ("video", "audio", "au", "face", "text")
    assert extractor.trained_on == frozenset()
    assert EXTRACTORS[name].__doc__


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if "trained_on" in SILENT[n]])
def test_subjects_that_the_weights_have_seen_are_kept(name: str, required: dict[str, dict[str, Any]]) -> None:
    assert make(name, required, trained_on=["s1", "s2", "s1"]).trained_on == {"s1", "s2"}


def test_a_picture_per_row_passes_and_any_other_number_does_not() -> None:
    check_features(features(pictures=(b"", b"x", b"")), 4)
    with pytest.raises(BadFeaturesError, match="2 pictures; expected one per row, 3"):
        check_features(features(pictures=(b"", b"x")), 4)


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if EXTRACTORS[n].reads_media])
def test_a_clip_without_files_is_a_missing_medium(name: str, required: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(MissingMediaError):
        make(name, required).extract(Clip("a"))


@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_values_are_computed_from_something_or_looked_up(
    name: str, required: dict[str, dict[str, Any]]
) -> None:
    """Who wants them of a new clip must know which."""
    extractor = make(name, required)
    assert extractor.reads_media or extractor.reads_feature or extractor.looks_up


# In other processes

TINY = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": (8,) * 7, "feat_extract_norm": "layer",
}  # fmt: skip
TINY_VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
HEAVY = ("torch", "transformers", "pandas", "opensmile", "sklearn")
ROOT = Path(extractors.__file__).parents[1]


@pytest.fixture
def ready(
    required: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    """Options with which every extractor can be prepared and run here, with small networks."""
    monkeypatch.setattr("extractors.wav2vec2._XLSR_53", TINY)
    monkeypatch.setattr("extractors.hub._VIT_BASE", TINY_VIT)
    folder = tmp_path / "openface"
    folder.mkdir()
    columns = ("timestamp", "confidence", "success", *AU_COLUMNS)
    pd.DataFrame({c: [0.0, 1.0] for c in columns}).to_csv(folder / "a.csv", index=False)
    return {
        **required,
        "openface": {"csv_dir": folder, "min_confidence": None},
        **{name: {"weights": "random", "short_side": 64, "crop": 32} for name in ZOO},
        **{name: {"weights": "random", "detect": FaceSettings(fps=2.0)} for name in FACES},
    }


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    pictures = [face_makers.draw((80 + i, 90, 70), size=(160, 160)) for i in range(4)] * 15
    return Clip("a", video=write_clip(tmp_path / "film.mkv", pictures, sound=[(0, tone(2.4, 16000))]))


def result(extractor: Extractor, clip: Clip) -> str:
    """Return a digest of what a decode worker makes of a clip."""
    if isinstance(extractor, WindowExtractor):
        parts = [np.asarray(p) for w in extractor.windows(clip) for p in (w.data, [w.start, w.end, w.valid])]
    else:
        found = extractor.extract(clip)
        parts = [found.values, found.intervals, found.valid]
        parts += [np.frombuffer(picture, np.uint8) for picture in found.pictures or ()]
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()


_WORKER = """
import json, pickle, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
extractor, clip = pickle.loads(Path(sys.argv[2]).read_bytes())
import hashlib
import numpy as np
from extractors.contract import WindowExtractor
if isinstance(extractor, WindowExtractor):
    parts = [np.asarray(p) for w in extractor.windows(clip) for p in (w.data, [w.start, w.end, w.valid])]
else:
    found = extractor.extract(clip)
    parts = [found.values, found.intervals, found.valid]
    parts += [np.frombuffer(picture, np.uint8) for picture in found.pictures or ()]
digest = hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()
print(json.dumps([digest, sorted(sys.modules)]))
"""


def in_a_fresh_process(code: str, *arguments: str) -> Any:
    """Return the JSON that some code prints in a Python of its own."""
    command = [sys.executable, "-c", code, str(ROOT), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def held(value: Any) -> set[str]:
    """Return the packages whose objects a pickle would rebuild."""
    words = [str(a) for _, a, _ in pickletools.genops(pickle.dumps(value)) if isinstance(a, str)]
    return {word.split(".")[0].split(" ")[0] for word in words}


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("name", list(EXTRACTORS))
def test_every_extractor_is_sent_to_a_worker_without_what_it_loaded(
    name: str, ready: dict[str, dict[str, Any]], clip: Clip, prepared: bool
) -> None:
    extractor = make(name, ready)
    if prepared:
        extractor.prepare()
        extractor.extract(clip)  # whatever it keeps from one clip to the next is there now
    sent = pickle.dumps(extractor)
    assert len(sent) < 1_000_000
    copy = pickle.loads(sent)
    assert copy.identity() == extractor.identity()
    assert copy.feature_names == extractor.feature_names
    assert copy.rows_per_second == extractor.rows_per_second
    assert result(copy, clip) == result(extractor, clip)
    if extractor.reads_media:  # others never leave the engine's process
        assert not held(extractor) & {*HEAVY, "audinterface"}


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if EXTRACTORS[n].modality != "face"])
def test_a_worker_never_imports_torch(
    name: str, ready: dict[str, dict[str, Any]], clip: Clip, tmp_path: Path
) -> None:
    """It would cost each of them seconds to start and half a gigabyte; finding faces is worth that."""
    extractor = make(name, ready)
    extractor.prepare()
    path = tmp_path / "sent"
    path.write_bytes(pickle.dumps((extractor, clip)))
    digest, modules = in_a_fresh_process(_WORKER, str(path))
    assert digest == result(extractor, clip)
    assert "torch" not in modules
    if isinstance(extractor, WindowExtractor):
        assert not set(HEAVY) & set(modules)


def test_the_package_imports_nothing_heavy_until_it_is_needed() -> None:
    modules = in_a_fresh_process(
        "import json, sys\nsys.path.insert(0, sys.argv[1])\nimport extractors\n"
        "print(json.dumps(list(sys.modules)))"
    )
    assert "extractors.wav2vec2" in modules
    assert not set(HEAVY) & set(modules)


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if issubclass(EXTRACTORS[n], WindowExtractor)])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 33])
def test_batches_hold_every_window_once_and_again_the_same(
    name: str, count: int, ready: dict[str, dict[str, Any]]
) -> None:
    extractor: Any = make(name, ready)
    extractor.prepare()
    windows = [Window(np.zeros(1000 + i * 37 % 11), i, i + 1.0) for i in range(count)]
    batches = list(extractor.batches(windows))
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert list(extractor.batches(windows)) == batches
    assert extractor.look_ahead >= max(map(len, batches), default=1)


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if issubclass(EXTRACTORS[n], WindowExtractor)])
def test_the_precision_changes_the_identity_and_nothing_else_of_it(
    name: str, ready: dict[str, dict[str, Any]]
) -> None:
    extractor: Any = make(name, ready)
    before = extractor.identity()
    extractor.precision = "bf16"
    assert {k for k, v in extractor.identity().items() if before[k] != v} == {"precision"}
