"""What the machine can compute with, as far as it says so."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from extractors import hardware
from extractors.hardware import cpp_compiler, has_bf16


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """The answer is kept for the process; every test here is another machine."""
    has_bf16.cache_clear()
    yield
    has_bf16.cache_clear()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def cpu_says(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str | None) -> None:
    path = folder / "cpuinfo"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    monkeypatch.setattr(hardware, "Path", lambda _: path)


CPUS = [
    ("flags\t\t: fpu sse2 avx512f avx512_bf16\n", True),
    ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
    ("Features\t: fp asimd bf16 i8mm\n", True),
    ("flags\t\t: fpu sse2 avx512f avx512bw\n", False),
    ("flags\t\t: fpu my_bf16x\n", False),
    ("Features\t: fp asimd\n", False),
    ("model name\t: says bf16 but is no list of flags\nflags\t\t: fpu\n", False),
    ("model name\t: caf\xe9\nflags : bf16\n", True),
    ("bogomips\t: 4000\n", False),
    ("", False),
    (None, False),
]


@pytest.mark.parametrize(("text", "expected"), CPUS)
def test_a_cpu_has_bfloat16_units_if_its_flags_say_so(
    no_gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, expected: bool
) -> None:
    cpu_says(monkeypatch, tmp_path, text)
    assert has_bf16() is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_them_since_ampere_whatever_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    cpu_says(monkeypatch, tmp_path, "flags : avx512_bf16\n")
    assert has_bf16() is expected


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose only programs lie in one folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def test_without_a_compiler_there_is_none(only_here: Path) -> None:
    assert cpp_compiler() is None


def test_the_usual_compiler_is_found(only_here: Path) -> None:
    program(only_here, "g++")
    assert cpp_compiler() == str(only_here / "g++")


def test_a_compiler_that_torch_would_not_look_for_is_none(
    only_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(only_here, "clang++")
    assert cpp_compiler() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cpp_compiler() == str(only_here / "clang++")


@pytest.mark.parametrize(
    ("chosen", "found"), [("mine", "mine"), ("mine -m64", "mine"), ("gone", None), ("", None), (" ", None)]
)
def test_the_compiler_that_the_environment_names_is_the_only_one(
    only_here: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, found: str | None
) -> None:
    program(only_here, "mine")
    program(only_here, "g++")
    monkeypatch.setenv("CXX", chosen)
    assert cpp_compiler() == (found and str(only_here / found))


def test_torch_looks_for_the_same_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cpp.cxx` is read when the module is imported; the rule is its own."""
    import inspect

    from torch._inductor import config

    assert 'os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")' in inspect.getsource(
        config
    )
