from typing import Any

import pytest
import torch

from extractors import compiling


@pytest.mark.parametrize(("saved", "worth"), [(0.0, False), (79.9, False), (80.0, True)])
def test_it_pays_where_it_saves_twice_what_it_costs(saved: float, worth: bool) -> None:
    assert compiling.pays(saved) is worth


def test_the_compiled_network_is_run_once_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "cpp_compiler", lambda: "g++")
    monkeypatch.setattr(torch, "compile", lambda network, options: [network, options])
    runs: list[Any] = []
    made, note = compiling.compiled("network", runs.append, 7)
    assert runs == [made] == [["network", {"freezing": True}]]
    assert note == "compiled the network, which pays for itself over 7 windows"


def test_what_cannot_be_compiled_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(network: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(compiling, "cpp_compiler", lambda: "g++")
    monkeypatch.setattr(torch, "compile", lambda network, options: "compiled")
    made, note = compiling.compiled("network", fails, 7)
    assert made == "network"
    assert note == "not compiled: the C++ compiler failed (disk full); runs as it is, slower"


def test_without_a_compiler_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "cpp_compiler", lambda: None)
    made, note = compiling.compiled("network", lambda network: pytest.fail("ran"), 7)
    assert made == "network"
    assert note.startswith("not compiled: no C++ compiler here")
