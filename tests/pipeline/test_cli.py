import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from lab import Lab

COMMANDS = ("init", "extract", "train_heads", "fuse", "demo", "doctor", "plan")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(lab: Lab, command: str) -> None:
    assert lab.run(command, "--help") == 0
    assert "Usage:" in lab.out


@pytest.mark.parametrize("command", ["extract", "train_heads", "fuse", "plan"])
def test_no_experiment_here_is_one_line_and_exit_code_1(lab: Lab, command: str) -> None:
    (lab.folder / "experiment.yaml").unlink()
    assert lab.run(command) == 1
    assert lab.err.startswith("error: no experiment.yaml here")
    assert "python -m pipeline.init" in lab.err
    assert lab.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "args"),
    [("extract", ["vidio"]), ("fuse", ["--reprot"]), ("init", []), ("extract", ["--workers", "0"])],
)
def test_wrong_usage_is_exit_code_1_and_points_to_help(lab: Lab, command: str, args: list[str]) -> None:
    assert lab.run(command, *args) == 1
    assert lab.err.startswith("error: ")
    assert "--help" in lab.err


def test_an_interrupt_is_exit_code_130(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pipeline.train_heads")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "load", interrupted)
    assert lab.run("train_heads") == 130
    assert "run the same command again" in lab.err


@pytest.fixture
def signals() -> Iterator[None]:
    """Put back what a command does about a request to end."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_request_to_end_unwinds_the_command(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, code: int
) -> None:
    unwound = []

    def asked_to_end(*_: object) -> None:
        try:
            os.kill(os.getpid(), sent)
            time.sleep(10)
        finally:
            unwound.append(sent)

    monkeypatch.setattr(importlib.import_module("pipeline.train_heads"), "load", asked_to_end)
    assert lab.run("train_heads") == code
    assert unwound == [sent]
    assert lab.err == "error: interrupted; run the same command again to go on where it stopped\n"


def test_a_bug_keeps_its_traceback(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pipeline.fuse")

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "load", broken)
    with pytest.raises(ZeroDivisionError):
        lab.run("fuse")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_as_modules(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"pipeline.{command}", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert done.stderr == ""
