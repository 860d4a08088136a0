import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h5py
import pytest
from lab import Lab

from extractors.weights import Card, Weights, cards
from pipeline import checks, equipment
from pipeline.estimate import FeaturePlan, Forecast, WavePlan
from pipeline.experiment import load

sys.path.append(str(Path(__file__).parents[1] / "extractors"))
from clip_makers import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nobody answers, and nothing is cached, unless a test says otherwise."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    checks._answers.cache_clear()
    yield
    checks._answers.cache_clear()


def test_every_line_begins_with_what_it_says(lab: Lab, change: Callable[..., None]) -> None:
    change("features.clip", {"modality": "video", "extractor": "x3d_m"})
    assert lab.run("doctor", "--hub") == 2
    *lines, last = lab.out.splitlines()
    assert last == "missing in all: 1"
    kinds = [line[:9] for line in lines]
    assert set(kinds) == {"ok       ", "note     ", "missing  ", "         "}
    for kind, line, after in zip(kinds, lines, [*lines[1:], last], strict=True):
        assert kind != "missing  " or after.startswith("         -> "), line
    assert len(lines) < 50  # one screen, and a card per network


def test_a_whole_experiment_lacks_nothing(lab: Lab) -> None:
    assert lab.run("doctor") == 0, lab.err
    assert "ok       feature one: is there" in lab.out
    assert lab.out.rstrip().endswith("nothing is missing")


def test_missing_weights_are_named_with_their_place(lab: Lab, change: Callable[..., None]) -> None:
    change("features.clip", {"modality": "video", "extractor": "x3d_m"})
    change("features.tried", {"modality": "video", "extractor": "x3d_m", "weights": "random"})
    assert lab.run("doctor") == 2
    assert (
        "missing  feature clip\n         -> weights of x3d_m: none given. Get X3D-M, Kinetics-400" in lab.out
    )
    assert "note     feature tried: UNTRAINED, random weights" in lab.out
    assert "missing in all: 1" in lab.out


def test_weights_that_are_there_are_said_with_their_fingerprint(
    lab: Lab, change: Callable[..., None]
) -> None:
    (lab.folder / "weights").mkdir()
    (lab.folder / "weights/x3d_m.pyth").write_bytes(b"not looked into here")
    change("features.clip", {"modality": "video", "extractor": "x3d_m", "weights": "weights/x3d_m.pyth"})
    assert lab.run("doctor") == 0
    assert "ok       feature clip: is there (x3d_m.pyth, sha256 " in lab.out
    assert "ok       weights of x3d_m: X3D-M, Kinetics-400, Apache-2.0, there" in lab.out
    assert "note     weights of x3d_s: X3D-S, Kinetics-400, Apache-2.0, not at weights/x3d_s.pyth" in lab.out


def test_without_an_experiment_it_lists_the_cards(lab: Lab, tmp_path: Path) -> None:
    (lab.folder / "experiment.yaml").unlink()
    assert lab.run("doctor") == 0
    assert all(f"weights of {name}: " in lab.out for name in cards())


def test_weights_that_come_with_a_package_are_there_if_it_is(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = Card("net", "Net", "https://example.org", "", "MIT", package="numpy")
    absent = Card("gone", "Gone", "https://example.org", "", "MIT", package="no-such-package")
    monkeypatch.setattr(equipment, "cards", lambda: {"net": brought, "gone": absent})
    lab.run("doctor")
    assert "ok       weights of net: Net, MIT, comes with numpy: installed" in lab.out
    assert "note     weights of gone: Gone, MIT, comes with no-such-package: not installed" in lab.out


def test_licences_filter(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = Card("net", "Net", "https://example.org", "weights/net", "research only")
    monkeypatch.setattr(equipment, "cards", lambda: {**cards(), "net": strict})
    assert lab.run("doctor") == 0
    assert "weights of net: Net, research only" in lab.out
    assert lab.run("doctor", "--licence", "permissive") == 0
    assert "weights of net: " not in lab.out
    assert "weights of x3d_m: " in lab.out


def test_versions_and_devices_are_said(lab: Lab) -> None:
    assert lab.run("doctor") == 0
    for what in ("affectstack", "torch", "torchvision", "transformers", "(FFmpeg ", "libavcodec ", "(HDF5 "):
        assert what in lab.out, what
    assert "ok       decodes h264, hevc, vp9, av1, mpeg4, mpeg1video, aac, mp3, opus, flac, pcm" in lab.out
    assert " cores, " in lab.out


def test_packages_that_do_not_fit_or_are_absent_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    monkeypatch.setattr(checks, "_version", lambda name: "" if name in ("av", "facenet-pytorch") else "1.0")
    found = {line.text: line for line in checks.software()}
    torn = next(
        line for text, line in found.items() if text.startswith("torch 1.0 and torchvision 1.0 do not")
    )
    assert (torn.state, torn.mend) == (
        "missing", "python -m pip install --force-reinstall torch torchvision",
    )  # fmt: skip
    assert found["not installed: av"].mend == "python -m pip install av"
    face = next(line for text, line in found.items() if "facenet-pytorch" in text)
    assert (face.state, face.mend) == ("note", "python -m pip install --no-deps facenet-pytorch==2.6.0")


ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError("No module named {name}")
sys.meta_path.insert(0, Absent())
from pipeline.cli import run
from pipeline.doctor import app
sys.argv = ["pipeline.doctor"]
run(app)
"""


@pytest.mark.parametrize(
    ("module", "package"),
    [("av", "av"), ("h5py", "h5py"), ("sklearn", "scikit-learn"), ("torch", "torch")],
)
def test_a_package_that_is_not_there_is_a_line_and_no_traceback(lab: Lab, module: str, package: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", ABSENT.format(name=module)],
        cwd=lab.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (2, "")
    assert told.stdout.startswith("ok       affectstack ")
    assert f"No module named {module}" in told.stdout
    assert re.search(rf"^missing  {package} .*\n +-> python -m pip install ", told.stdout, re.MULTILINE)
    assert re.search(r"^missing in all: \d+$", told.stdout.splitlines()[-1])
    assert "decodes " not in told.stdout


def test_codecs_that_are_not_there_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks._CODECS, "dream", ("no-such-codec", "another"))
    *_, line = checks.codecs()
    assert (line.state, line.text) == ("missing", "cannot decode dream")
    monkeypatch.setattr(checks, "_CODECS", {"dream": ("no-such-codec", "flac")})
    assert [line.text for line in checks.codecs()] == ["decodes dream"]


def test_a_gpu_that_pytorch_cannot_use_is_noted(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("it can be used here")
    driver = tmp_path / "version"
    assert checks._gpu(driver).text == "no GPU; networks run on the CPU"
    driver.touch()
    assert "cannot use one" in checks._gpu(driver).text


def test_a_program_that_a_feature_needs_is_missing_and_else_a_note(
    lab: Lab, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lab.run("doctor") == 0
    assert "note     OpenFace: no program FeatureExtraction on PATH" in lab.out
    change("features.aus", {"modality": "au", "extractor": "openface"})
    assert lab.run("doctor") == 2
    assert "missing  feature aus\n         -> openface: no program 'FeatureExtraction' on PATH" in lab.out
    program = tmp_path / "FeatureExtraction"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert lab.run("doctor") == 0
    assert f"ok       OpenFace: {program}" in lab.out
    assert "ok       feature aus: is there" in lab.out


def hub_feature(change: Callable[..., None]) -> None:
    change("features.speech", {"modality": "audio", "extractor": "wav2vec2", "weights": f"org/net@{COMMIT}"})


def test_weights_on_the_hub_are_missing_where_nobody_answers(lab: Lab, change: Callable[..., None]) -> None:
    hub_feature(change)
    assert lab.run("doctor") == 2
    assert (
        "missing  feature speech: org/net@0123456789ab is not in the cache of the hub, and the hub does not"
        in lab.out
    )
    assert f"hf download org/net --revision {COMMIT}" in lab.out


def test_weights_on_the_hub_are_fetched_where_it_answers(
    lab: Lab, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_feature(change)
    monkeypatch.setattr(checks, "hub_answers", lambda: True)
    assert lab.run("doctor", "--hub") == 0
    assert "note     feature speech: org/net@0123456789ab is fetched from the hub" in lab.out
    assert "ok       the Hugging Face hub answers (http://127.0.0.1:9)" in lab.out
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert lab.run("doctor", "--hub") == 2
    assert "and HF_HUB_OFFLINE is set" in lab.out
    assert "HF_HUB_OFFLINE=0 hf download" in lab.out
    assert "note     the Hugging Face hub is shut off by HF_HUB_OFFLINE" in lab.out


WHOLE = {"config.json", "preprocessor_config.json", "model.safetensors"}
PARTS = ("model-1-of-2.safetensors", "model-2-of-2.safetensors")
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("files", "state"),
    [
        (WHOLE, "ok"),
        (WHOLE - {"model.safetensors"}, "missing"),
        (WHOLE - {"preprocessor_config.json"}, "missing"),
        (WHOLE - {"model.safetensors"} | {INDEX}, "missing"),
        (WHOLE - {"model.safetensors"} | {INDEX, PARTS[0]}, "missing"),
        (WHOLE - {"model.safetensors"} | {INDEX, *PARTS}, "ok"),
        (WHOLE - {"model.safetensors"} | {*PARTS}, "missing"),
    ],
)
def test_weights_in_the_cache_of_the_hub_are_there_with_all_their_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: set[str], state: str
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--net/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in files:
        named = {"weight_map": {"a": PARTS[0], "b": PARTS[1], "c": PARTS[0]}} if file == INDEX else {}
        (snapshot / file).write_text(json.dumps(named))
    assert checks.hub_weights("x", Weights(hub="org/net", revision=COMMIT)).state == state


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": ["a"]}'])
def test_an_index_of_weights_that_names_no_parts_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: str
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--net/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in WHOLE - {"model.safetensors"}:
        (snapshot / file).write_text("{}")
    (snapshot / INDEX).write_text(index)
    assert checks.hub_weights("x", Weights(hub="org/net", revision=COMMIT)).state == "missing"


def test_a_hub_that_keeps_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_HUB_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call, and says nothing
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert not checks.hub_answers()
    enough = threading.Event()

    def look_up(*_: object, **__: object) -> None:  # has no time limit of its own
        enough.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
    assert not checks.hub_answers()
    assert "no answer from the Hugging Face hub at http://no-such-host" in checks.hub_state().text
    enough.set()
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc/hostname")
    assert not checks.hub_answers()


@pytest.mark.parametrize(
    ("code", "answers"), [(200, True), (401, True), (403, False), (404, False), (502, False)]
)
def test_a_proxy_that_refuses_is_no_answer(monkeypatch: pytest.MonkeyPatch, code: int, answers: bool) -> None:
    class Speaks(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Speaks) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert checks.hub_answers() is answers


def test_the_hub_is_not_called_unless_it_is_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (port, callers):
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        assert lab.run("doctor") == 0
        assert not callers
        lab.run("doctor", "--hub")
        assert callers


def test_a_disk_with_too_little_room_is_missing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(size: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=size))

    free(0.5e9)
    assert lab.run("doctor") == 2
    assert "missing  0.5 GB free in ." in lab.out
    assert "at least 1 GB is wanted" in lab.out
    free(5e9)
    assert lab.run("doctor") == 0
    assert next(checks.folder_lines(lab.folder, 6e9)).state == "missing"
    assert next(checks.folder_lines(lab.folder, 4e9)).state == "ok"


def test_the_room_that_a_plan_needs_is_compared(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=5e9))
    told = FeaturePlan("one", 72, 0, 72, 0.0, 1.0, 6e9, "0" * 64)
    Forecast(2, [WavePlan([told], 0.0, 1.0)], 0.0).write(load(lab.folder / "experiment.yaml"))
    assert lab.run("doctor") == 2
    assert "missing  5.0 GB free in .; the plan needs 6.0 GB" in lab.out


@pytest.mark.parametrize(
    ("target", "name", "step"),
    [(os, "fsync", "write a file"), (Path, "replace", "rename a file"), (Path, "symlink_to", "make a link"),
     (h5py, "File", "lock a file of HDF5")],
)  # fmt: skip
def test_a_folder_that_cannot_do_what_the_store_does_is_missing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, target: object, name: str, step: str
) -> None:
    before = sorted(lab.folder.iterdir())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    with monkeypatch.context() as patch:
        patch.setattr(target, name, refuse)
        line = checks._write_test(lab.folder)
    assert line.state == "missing"
    assert line.text.startswith(f"cannot {step} in ")
    assert line.text.endswith("(Function not implemented)")
    assert sorted(lab.folder.iterdir()) == before
    assert checks._write_test(lab.folder).state == "ok"
    assert sorted(lab.folder.iterdir()) == before


def test_few_open_files_are_missing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    assert "missing  a process may open only 100 files; 256 are wanted\n         -> ulimit" in "\n".join(
        map(str, checks.folder_lines(lab.folder, None))
    )
