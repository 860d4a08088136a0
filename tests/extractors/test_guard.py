"""What a process started ends with it, however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extractors.guard import Guard

HOUSE = Path(__file__).parents[2]
WORKS = """
import subprocess, sys, time
from extractors.guard import Guard
with Guard(sys.argv[1]) as guard:
    program = subprocess.Popen([sys.executable, "-c", sys.argv[2]], start_new_session=True)
    guard.tell(str(program.pid))
    time.sleep(60)
"""
LATE = "import time; print(flush=True); time.sleep(20); print('late')"


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_programs_end_and_their_folder_goes_with_who_started_them(tmp_path: Path, ending: int) -> None:
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKS, str(folder), LATE], cwd=HOUSE, stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    worker.stdout.readline()  # the program runs, and holds this end too
    assert folder.exists()
    worker.send_signal(ending)
    assert worker.wait() == -ending
    assert worker.stdout.read() == b""  # which ends when the program has
    deadline = time.monotonic() + 20
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_ends_as_it_should_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        with pytest.raises(KeyError), Guard(str(tmp_path)) as guard:
            guard.tell(str(program.pid))
            raise KeyError
        assert guard._process.returncode == 0
        assert program.poll() is None
        assert (tmp_path / "file").exists()
    finally:
        program.kill()
        program.wait()


def test_a_guard_that_somebody_ended_is_no_trouble(tmp_path: Path) -> None:
    with Guard(str(tmp_path)) as guard:
        guard._process.kill()
        guard._process.wait()
        guard.tell("1")
    assert tmp_path.exists()
