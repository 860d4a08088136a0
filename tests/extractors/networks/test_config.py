"""Configurations: read as PySlowFast means them, refused in one line where they cannot be."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from network_makers import narrow, write_config

from affectstack import AffectstackError
from extractors.networks.config import ConfigFileError, parse_config, read_config
from extractors.networks.zoo import ZOO, zoo_config

GOOD: dict[str, Any] = {"MODEL": {"ARCH": "mvit"}, "DATA": {"NUM_FRAMES": 16}}


def test_text_that_stands_for_numbers_is_numbers() -> None:
    found = parse_config({**GOOD, "MVIT": {"PATCH_KERNEL": "(3, 7, 7)", "PATCH_PADDING": "(1, 3, 3)"}}, "x")
    assert (found.MVIT.PATCH_KERNEL, found.MVIT.PATCH_PADDING) == ((3, 7, 7), (1, 3, 3))


def test_what_was_only_needed_for_training_is_left_alone() -> None:
    found = parse_config({**GOOD, "TRAIN": {"CHECKPOINT_FILE_PATH": "/etc/passwd"}, "NUM_GPUS": "many"}, "x")
    assert found.DATA.NUM_FRAMES == 16


def test_slow_has_two_names() -> None:
    assert {parse_config({"MODEL": {"ARCH": a}}, "x").arch for a in ("slow", "slowonly")} == {"slow"}


@pytest.mark.parametrize("name", ZOO)
def test_a_configuration_survives_its_file(tmp_path: Path, name: str) -> None:
    config = narrow(name)
    assert read_config(write_config(tmp_path / "c.yaml", config)) == config


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"_BASE_": "../../etc/passwd"}, "_BASE_ names another file, which is not opened"),
        ({"MODEL": {"ARCH": "vit"}}, "MODEL.ARCH"),
        ({"DATA": {"NUM_FRAMES": 10**9}}, "DATA.NUM_FRAMES"),
        ({"DATA": {"NUM_FRAMES": "all"}}, "DATA.NUM_FRAMES"),
        ({"MVIT": {"REV": {"ENABLE": True}}}, "MVIT.REV.ENABLE with MODEL.ARCH mvit"),
        ({"MVIT": {"SEPARATE_QKV": True}}, "MVIT.SEPARATE_QKV"),
        ({"MVIT": {"NORM": "batchnorm"}}, "MVIT.NORM"),
        ({"BN": {"NORM_TYPE": "sub_batchnorm"}}, "BN.NORM_TYPE"),
        ({"DETECTION": {"ENABLE": True}}, "DETECTION.ENABLE"),
        ({"MODEL": {"ARCH": "x3d"}}, "RESNET.TRANS_FUNC with MODEL.ARCH x3d"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_what_is_not_known_here_is_refused_by_name(change: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigFileError, match=r"^c\.yaml: ") as caught:
        parse_config({**GOOD, **change}, "c.yaml")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "expected sections"), (b"- 1\n- 2\n", "expected sections"), (b"a: [1", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"), (b"modle: {}\n", "neither MODEL nor DATA is in it"),
        (b"!!python/object/apply:os.mkdir [canary]\n", "not valid YAML"),
        (b"a: b\n" * 300_000, "a configuration has 10,000"),
    ],
    ids=["empty", "list", "broken", "binary", "other", "code", "huge"],
)  # fmt: skip
def test_files_that_are_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigFileError) as caught:
        read_config(tmp_path / "c.yaml")
    assert part in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigFileError, match="cannot be read"):
        read_config(Path("nowhere.yaml"))


def test_an_unknown_network_is_refused_with_a_suggestion() -> None:
    with pytest.raises(AffectstackError, match="did you mean 'x3d_m'"):
        zoo_config("x3d-m")


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["slowfast_tiny", "x3d_tiny", "mvitv2_tiny"])
def test_pyslowfasts_own_dumps_are_read(real_data: Path, name: str) -> None:
    path = real_data / "golden" / name / "config.yaml"
    document = yaml.safe_load(path.read_text())
    found = read_config(path)
    for section, values in found.model_dump(mode="json").items():
        for key, value in values.items():
            if key in document[section] and not isinstance(value, dict | list):
                assert document[section][key] == value, (section, key)
