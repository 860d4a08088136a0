"""The one reader of pickles: arrays by name, and nothing that could run."""

import codecs
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_makers import narrow

from extractors.legacy_pickle import read_blobs
from extractors.networks.caffe2_names import renamed
from extractors.networks.loading import build
from extractors.weights import Weights, WeightsError

ARRAYS = {
    "conv1_w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "lr": np.float32(0.1),
    "n": np.array([3, 4]),
}


def write(path: Path, value: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("wrapped", [True, False])
def test_arrays_come_out_as_they_went_in(tmp_path: Path, protocol: int, wrapped: bool) -> None:
    path = write(tmp_path / "a.pkl", {"blobs": ARRAYS} if wrapped else ARRAYS, protocol)
    found = read_blobs(path)
    assert set(found) == set(ARRAYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_file_of_python_2_is_read(tmp_path: Path) -> None:
    """As caffe2 wrote them: byte strings for names and data, numpy.core in place of numpy._core."""
    data = np.arange(4, dtype="<f4")
    text = (
        b"\x80\x02}q\x01U\x05blobsq\x02}q\x03U\x07conv1_wq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\n"
        b"ndarray\nq\x06K\x00\x85U\x01b\x87R(K\x01K\x04\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10" + data.tobytes() + b"tbss."
    )
    (tmp_path / "a.pkl").write_bytes(text)
    np.testing.assert_array_equal(read_blobs(tmp_path / "a.pkl")["conv1_w"], data)


class Runs:
    """Calls something when it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


def hostile(canary: Path) -> dict[str, Any]:
    return {
        "a call": Runs(os.mkdir, str(canary)),
        "eval": Runs(eval, f"__import__('os').mkdir({str(canary)!r})"),
        "among arrays": {"blobs": {"a": np.zeros(2), "b": Runs(os.mkdir, str(canary))}},
        "getattr": Runs(getattr, Path, "home"),
        "numpy.load": Runs(np.load, str(canary)),
        "numpy's runstring": Runs(np.frombuffer, b"ab", "O"),
        "objects": {"a": np.array([{}, Runs(os.mkdir, str(canary))], dtype=object)},
        "a codec": Runs(codecs.encode, "ab", "zlib_codec"),
        "torch": Runs(torch.load, str(canary)),
    }


@pytest.mark.parametrize("name", hostile(Path()))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_file_runs(tmp_path: Path, name: str, protocol: int) -> None:
    canary = tmp_path / "canary"
    path = write(tmp_path / "a.pkl", hostile(canary)[name], protocol)
    with pytest.raises(
        WeightsError, match=r"a\.pkl: refused, not a plain caffe2 checkpoint .*Nothing in it was run"
    ):
        read_blobs(path)
    assert not canary.exists()


def test_the_attack_is_real(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickle.dumps(Runs(os.mkdir, str(tmp_path / "no" / "where"))))


def test_no_memory_is_taken_for_an_array_that_is_not_there(tmp_path: Path) -> None:
    shape = b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
    text = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + shape + b"U\x01b\x87R."
    (tmp_path / "a.pkl").write_bytes(text)
    with pytest.raises(WeightsError, match="an array that does not begin empty"):
        read_blobs(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x80\x02", b"\x80\x02}q\x00.", b"\x80\x02P1\n.", b"\x80\x02K\x01."]
)
def test_files_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pkl: "):
        read_blobs(tmp_path / "a.pkl")


def test_every_cut_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO(pickle.dumps({"blobs": ARRAYS}, 2)).getvalue()
    for length in range(0, len(whole), 7):
        (tmp_path / "a.pkl").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_blobs(tmp_path / "a.pkl")


# The names of caffe2


def old_name(key: str) -> str:
    """Return what caffe2 calls a parameter of PySlowFast: the other way round, written by hand."""
    place, _, leaf = key.rpartition(".")
    norm = place.endswith("bn")
    end = {"weight": "s" if norm else "w", "bias": "b", "running_mean": "rm", "running_var": "riv"}[leaf]
    if place == "head.projection":
        return f"pred_{end}"
    stage, rest = place.split(".", 1)
    number = stage[1]
    if stage.endswith("_fuse"):
        last = {
            "1": "t_pool1",
            "2": "t_res2_2_branch2c_bn",
            "3": "t_res3_3_branch2c_bn",
            "4": "t_res4_5_branch2c_bn",
        }
        return f"{last[number]}_subsample{'_bn' if norm else ''}_{end}"
    fast = "t_" if rest.startswith("pathway1") else ""
    if "stem" in rest:
        return f"{fast}{'res_conv1_bn' if norm else 'conv1'}_{end}"
    block, branch = rest.split("_res")[1].split(".", 1)
    branch = branch.replace("branch2.", "branch2")
    return f"{fast}res{number}_{block}_{branch}_{end}"


@pytest.mark.parametrize("name", ["slowfast_8x8_r50", "slow_8x8_r50", "i3d_r50"])
def test_every_parameter_of_the_zoo_has_its_old_name(name: str) -> None:
    state = build(narrow(name, TRAIN_CROP_SIZE=32), Weights(), 3).model.state_dict()
    wanted = {k: v.numpy() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    blobs = {old_name(k): v for k, v in wanted.items()}
    blobs |= {f"{old_name(k)}_momentum": v for k, v in wanted.items()}
    blobs["pred_w"] = blobs["pred_w"][:, :, None, None, None]
    blobs |= {"lr": np.float32(0.1), "model_iter": np.int64(5)}
    found, unknown = renamed(blobs)
    assert unknown == []
    assert set(found) == set(wanted)
    for key, values in wanted.items():
        np.testing.assert_array_equal(found[key], values)


def test_names_that_mean_nothing_here_are_told() -> None:
    found, unknown = renamed(
        {"conv1_w": np.zeros(1), "fpn_inner_w": np.zeros(1), "res2_0_branch2d_w": np.zeros(1)}
    )
    assert (list(found), unknown) == (["s1.pathway0_stem.conv.weight"], ["fpn_inner_w", "res2_0_branch2d_w"])


def test_blocks_that_attend_have_their_old_names_too() -> None:
    names = [
        "nonlocal_conv3_1_theta_w",
        "nonlocal_conv3_1_g_b",
        "nonlocal_conv4_5_bn_riv",
        "nonlocal_conv4_5_out_w",
    ]
    found, unknown = renamed({n: np.zeros(1) for n in names})
    assert unknown == []
    assert list(found) == [
        "s3.pathway0_nonlocal1.conv_theta.weight", "s3.pathway0_nonlocal1.conv_g.bias",
        "s4.pathway0_nonlocal5.bn.running_var", "s4.pathway0_nonlocal5.conv_out.weight",
    ]  # fmt: skip
