"""Where weights come from, and that reading them runs nothing."""

import json
import os
import pickle
import struct
import tomllib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from affectstack import AffectstackError
from extractors import weights
from extractors.weights import Card, Weights, WeightsError, card, load_state_dict, resolve, sha256

CARD = Card("net", "Net of 2020", "https://example.org/net", "weights/net.pt", "MIT", "Mind the gap.")
HUB = Card(
    "hub",
    "Hub net",
    "https://example.org/hub",
    "weights/hub",
    "MIT",
    hub="org/hub",
    revision="abc123" + "0" * 34,
)
NAMES = list(tomllib.loads(Path(weights.__file__).with_name("weights.toml").read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_complete(name: str) -> None:
    found = card(name)
    assert found.title
    assert found.licence
    assert found.origin.startswith("https://")
    assert found.file.startswith("weights/") or found.package
    assert bool(found.hub) == bool(found.revision)
    assert not found.hub or len(found.revision) == 40


@pytest.mark.parametrize("name", NAMES)
def test_every_certificate_is_plausible(name: str) -> None:
    """The tests of each network hold it to these numbers."""
    found = card(name)
    assert 0.99 < found.bf16_cosine < 1 or not found.allows_bf16
    assert 0 < found.batch_tolerance < 1e-3 or not found.allows_bf16
    assert 0 <= found.padding_tolerance < 1e-3


def test_bfloat16_is_refused_until_it_was_measured() -> None:
    assert CARD.bf16_cosine == 0
    assert not CARD.allows_bf16
    assert Card("net", "", "", "", "", bf16_cosine=0.5).allows_bf16


def test_a_missing_weight_says_what_why_where_to_get_and_where_to_put() -> None:
    message = str(CARD.missing("none given"))
    assert message == (
        "weights of net: none given. Get Net of 2020 (MIT) from https://example.org/net, put it at "
        "weights/net.pt beside the experiment and name it with `weights: weights/net.pt`. Mind the gap. To "
        "try the road without it, write `weights: random` (untrained)."
    )
    assert f"or let `weights: org/hub@{HUB.revision}` fetch it" in str(HUB.missing("none given"))


def test_weights_errors_are_readable_to_users() -> None:
    assert issubclass(WeightsError, AffectstackError)


def test_random_is_random() -> None:
    found = resolve("random", CARD)
    assert found.random
    assert found.identity() == {"weights": "random"}


def test_a_file_is_taken_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.pt").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert resolve("net.pt", CARD).path == tmp_path / "net.pt"


@pytest.mark.parametrize(
    ("spec", "revision"),
    [("org/other@" + "d" * 40, "d" * 40), ("org/hub", HUB.revision), (None, HUB.revision)],
)
def test_hub_ids_are_pinned(spec: str | None, revision: str) -> None:
    found = resolve(spec, HUB)
    assert (found.path, found.revision) == (None, revision)
    assert found.identity() == {"weights": f"{found.hub}@{revision}"}


@pytest.mark.parametrize("moving", ["main", "v1.0", "abc123", "D" * 40])
def test_a_revision_that_may_move_is_refused(moving: str) -> None:
    with pytest.raises(WeightsError, match="the 40 hex digits of a commit"):
        resolve(f"org/hub@{moving}", HUB)


def test_a_foreign_hub_id_without_a_revision_is_refused() -> None:
    with pytest.raises(
        WeightsError, match=r"org/other does not exist and is no pinned hub id .*org/name@revision"
    ):
        resolve("org/other", HUB)


@pytest.mark.parametrize("spec", ["org/other@def", "gone.pt", "a/b/c"])
def test_what_is_not_there_is_named(spec: str) -> None:
    with pytest.raises(WeightsError, match=f"^weights of net: {spec} does not exist. Get Net of 2020"):
        resolve(spec, CARD)


def test_no_weights_and_no_hub_is_an_error() -> None:
    with pytest.raises(WeightsError, match=r"^weights of net: none given"):
        resolve(None, CARD)


def test_identity_is_of_the_content_and_free_of_the_place(tmp_path: Path) -> None:
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.pt").write_bytes(content)
    one, same, other = (Weights(path=tmp_path / f / "net.pt").identity() for f in "abc")
    assert one == same
    assert one != other


def test_the_digest_of_a_folder_sees_names_and_content(tmp_path: Path) -> None:
    layouts = [
        {"x": b"1", "y": b"2"},
        {"x": b"1", "y": b"2"},
        {"x": b"2", "y": b"1"},
        {"x": b"1", "z/y": b"2"},
    ]
    digests = []
    for i, files in enumerate(layouts):
        for name, content in files.items():
            path = tmp_path / str(i) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        digests.append(sha256(tmp_path / str(i)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize("suffix", ["pt", "pth", "pyth", "bin"])
@pytest.mark.parametrize("wrapped", ["model_state", "state_dict", ""])
def test_a_checkpoint_is_unwrapped(tmp_path: Path, suffix: str, wrapped: str) -> None:
    path = tmp_path / f"net.{suffix}"
    torch.save({wrapped: STATE, "epoch": 3} if wrapped else STATE, path)
    found = load_state_dict(path)
    assert list(found) == list(STATE)
    for name, tensor in STATE.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_safetensors_load(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "net.safetensors")
    torch.testing.assert_close(load_state_dict(tmp_path / "net.safetensors"), STATE, rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"net.{suffix}"
    save_file(STATE, path) if suffix == "safetensors" else torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=f"net.{suffix}"):
        load_state_dict(path)


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pyth"])
def test_text_is_no_checkpoint(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net.{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 138\n")
    with pytest.raises(WeightsError, match=f"net.{suffix}"):
        load_state_dict(path)


@pytest.mark.parametrize(
    "content", [[1, 2], STATE["a.bias"], {"a": 1}, {"model_state": {"a": "b"}}, {"epoch": 3}]
)
def test_what_holds_more_than_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="holds no state dict; expected tensors by parameter name"):
        load_state_dict(tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["net.joblib", "net.npy", "net", "net.PT"])
def test_other_kinds_of_file_are_refused_unopened(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="unknown kind"):
        load_state_dict(tmp_path / name)


class Payload:
    """Makes a folder when it is unpickled: the harmless form of an attack."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", ["pt", "pth", "pyth", "bin", "tar"])
@pytest.mark.parametrize("bare", [True, False])
def test_code_in_a_checkpoint_never_runs(tmp_path: Path, suffix: str, bare: bool) -> None:
    path, canary = tmp_path / f"net.{suffix}", tmp_path / "canary"
    if bare:
        path.write_bytes(pickle.dumps(Payload(canary)))
    else:
        torch.save({"state_dict": STATE, "more": Payload(canary)}, path)
    with pytest.raises(WeightsError, match="refused, not a plain checkpoint of tensors") as caught:
        load_state_dict(path)
    assert not canary.exists()
    assert "weights_only" not in str(caught.value)  # PyTorch tells how to run the code all the same
    assert bare or "it asks for posix.mkdir" in str(caught.value)


def test_numpy_objects_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": np.array([{}], dtype=object)}}, tmp_path / "net.pt")
    with pytest.raises(WeightsError):
        load_state_dict(tmp_path / "net.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_that_hold_nan_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net.{suffix}"
    state = {"a": torch.tensor([1.0, torch.nan])}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    with pytest.raises(WeightsError):
        load_state_dict(path)


def safetensors(
    path: Path, header: dict[str, Any] | bytes, data: bytes = b"", size: int | None = None
) -> Path:
    """Write a file in the layout of safetensors: the length of a JSON header, the header, the numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def entry(begin: int, end: int, shape: tuple[int, ...] = (2,), kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def test_a_file_laid_out_by_hand_loads(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "net.safetensors", {"a": entry(0, 8), "b": entry(8, 16)}, bytes(16))
    assert set(load_state_dict(path)) == {"a", "b"}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, None),
        ({"a": entry(0, 8), "b": entry(0, 8)}, None),
        ({"a": entry(0, 8), "b": entry(12, 20)}, None),
        ({"a": entry(0, 1 << 40, (1 << 38,))}, None),
        ({"a": entry(0, 16, (1 << 32, 1 << 32))}, None),
        ({"a": entry(0, 16, (3,))}, None),
        ({"a": entry(8, 0)}, None),
        ({"a": entry(0, 16, (4,), "PICKLE")}, None),
        (b"{" * 500, None),
        ({"a": entry(0, 16, (4,))}, 1 << 62),
        (b"", None),
    ],
    ids=["overlap", "twins", "hole", "terabyte", "overflow", "shape", "backwards", "type", "nested", "header",
         "nothing"],
)  # fmt: skip
def test_a_hostile_safetensors_file_is_refused(
    tmp_path: Path, header: dict[str, Any] | bytes, size: int | None
) -> None:
    path = safetensors(tmp_path / "net.safetensors", header, bytes(16), size)
    with pytest.raises(WeightsError, match=r"net\.safetensors: not a readable safetensors file"):
        load_state_dict(path)


@pytest.mark.parametrize("kind", ["pkl", "joblib", "npy"])
@pytest.mark.parametrize("suffix", ["", "pt", "safetensors"])
def test_code_in_other_files_never_runs_whatever_they_are_called(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path, canary = tmp_path / f"net.{kind}", tmp_path / "canary"
    if kind == "pkl":  # as caffe2 writes its models
        path.write_bytes(pickle.dumps({"blobs": Payload(canary)}, protocol=2))
    elif kind == "joblib":
        joblib.dump({"coef_": Payload(canary)}, path)
    else:
        np.save(path, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    copy = path.rename(tmp_path / f"copy.{suffix or kind}")
    with pytest.raises(WeightsError):
        load_state_dict(copy)
    assert not canary.exists()
    attacks = {
        "pkl": lambda: pickle.loads(copy.read_bytes()),
        "joblib": lambda: joblib.load(copy),
        "npy": lambda: np.load(copy, allow_pickle=True),
    }
    attacks[kind]()  # the attack is real
    assert canary.exists()


def test_weights_that_were_changed_are_other_weights(tmp_path: Path) -> None:
    """A store is tied to the content of its weights, so one flipped bit leaves old features aside."""
    path = tmp_path / "net.safetensors"
    save_file(STATE, path)
    before, content = Weights(path=path).identity(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    after = Weights(path=path).identity()
    assert {k for k in before if before[k] != after[k]} == {"weights_sha256"}
