"""OpenFace: its CSV files, and its program run safely."""

import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affectstack import AffectstackError
from extractors.contract import Clip, DecodeError, MissingMediaError, check_features
from extractors.openface import AU_COLUMNS, OpenFace, OpenFaceError
from extractors.weights import WeightsError

# SYSTEMS 2.4, written out.
ORDER = [
    "AU01_r", "AU02_r", "AU04_r", "AU05_r", "AU06_r", "AU07_r", "AU09_r", "AU10_r", "AU12_r", "AU14_r",
    "AU15_r", "AU17_r", "AU20_r", "AU23_r", "AU25_r", "AU26_r", "AU45_r",
    "AU01_c", "AU02_c", "AU04_c", "AU05_c", "AU06_c", "AU07_c", "AU09_c", "AU10_c", "AU12_c", "AU14_c",
    "AU15_c", "AU17_c", "AU20_c", "AU23_c", "AU25_c", "AU26_c", "AU28_c", "AU45_c",
]  # fmt: skip


def table(rows: int = 4, **columns: Any) -> pd.DataFrame:
    """Return what OpenFace writes: value `row + column / 100` in the columns in another order than ours."""
    plain = {
        "frame": np.arange(1, rows + 1),
        "face_id": 0,
        "timestamp": np.arange(rows) * 0.04,
        "confidence": 0.98,
        "success": 1,
        "gaze_0_x": 0.5,
        **{name: np.arange(rows) + ORDER.index(name) / 100 for name in sorted(ORDER)},
    }
    return pd.DataFrame({**plain, **columns})


def save(folder: Path, frame: pd.DataFrame, name: str = "a.csv", blanks: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = frame.to_csv(index=False)
    (folder / name).write_text(text.replace(",", ", ") if blanks else text)
    return folder


def test_csv_files_are_looked_up_and_the_program_is_not(tmp_path: Path) -> None:
    assert OpenFace().looks_up == ""
    assert OpenFace(csv_dir=tmp_path / "aus").looks_up == "aus"


def test_the_columns_are_those_of_mmer_in_its_order() -> None:
    assert list(AU_COLUMNS) == ORDER
    assert OpenFace().feature_names == AU_COLUMNS


@pytest.mark.parametrize("blanks", [True, False])
def test_columns_are_taken_by_name_with_or_without_blanks(tmp_path: Path, blanks: bool) -> None:
    found = OpenFace(save(tmp_path, table(), blanks=blanks)).extract(Clip("a"))
    check_features(found, 35)
    expected = np.arange(4)[:, None] + np.arange(35) / 100
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    np.testing.assert_allclose(found.intervals, [[0, 0.04], [0.04, 0.08], [0.08, 0.12], [0.12, 0.16]])
    assert found.valid.all()


@pytest.mark.parametrize(
    ("least", "valid"),
    [(0.8, [True, True, False, False]), (0.9, [True, False, False, False]), (0.0, [True, True, True, False]),
     (None, [True, True, True, True])],
)  # fmt: skip
def test_a_frame_is_valid_by_success_and_confidence(
    tmp_path: Path, least: float | None, valid: list[bool]
) -> None:
    frame = table(confidence=[0.98, 0.8, 0.79, 0.99], success=[1, 1, 1, 0])
    found = OpenFace(save(tmp_path, frame), min_confidence=least).extract(Clip("a"))
    assert found.valid.tolist() == valid
    assert len(found.values) == 4


def test_one_frame_has_a_time(tmp_path: Path) -> None:
    found = OpenFace(save(tmp_path, table(1))).extract(Clip("a"))
    check_features(found, 35)


def test_of_several_faces_the_first_is_the_subject(tmp_path: Path) -> None:
    frame = pd.concat([table(3), table(3, face_id=1, confidence=0.1)]).sort_values("frame")
    found = OpenFace(save(tmp_path, frame)).extract(Clip("a"))
    assert len(found.values) == 3
    assert found.valid.all()


@pytest.mark.parametrize("name", ["a.csv", "01-a.csv", "03-a.csv"])
@pytest.mark.parametrize("folder", ["", "Actor_01/more"])
def test_a_file_is_found_by_the_clip_or_its_media_in_any_folder(
    tmp_path: Path, name: str, folder: str
) -> None:
    save(tmp_path / folder, table(), name)
    clip = Clip("a", video=Path("x/01-a.mp4"), audio=Path("x/03-a.wav"))
    assert len(OpenFace(tmp_path).extract(clip).values) == 4


def test_a_clip_without_a_file_says_which_names_were_sought(tmp_path: Path) -> None:
    folder = save(tmp_path / "csv", table(), "b.csv")
    with pytest.raises(MissingMediaError, match=r"^no a\.csv or 01-a\.csv in csv$"):
        OpenFace(folder).extract(Clip("a", video=Path("01-a.mp4")))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x", table())
    save(tmp_path / "y", table())
    with pytest.raises(AffectstackError, match="have the same name"):
        OpenFace(tmp_path).prepare()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AffectstackError, match="gone: no such folder"):
        OpenFace(tmp_path / "gone").prepare()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as CSV"),
        (b"\xff\xfe\x00", "not readable as CSV"),
        (b"notes\nmore\n", "missing column timestamp, confidence, success; not OpenFace output"),
        (table().drop(columns=["AU12_r"]).to_csv(index=False).encode(), "missing column AU12_r"),
        (table(0).to_csv(index=False).encode(), "no frames"),
        (table(2, AU12_r=["x", "y"]).to_csv(index=False).encode(), "could not convert"),
    ],
    ids=["empty", "binary", "text", "column", "no rows", "words"],
)
def test_what_is_no_openface_output_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DecodeError, match=rf"^a\.csv: .*{message}"):
        OpenFace(tmp_path).extract(Clip("a"))


def test_identity_follows_the_files_and_not_their_place(tmp_path: Path) -> None:
    folders = [save(tmp_path / "x", table()), save(tmp_path / "y", table()), save(tmp_path / "z", table(9))]
    one, same, other = (OpenFace(f).identity() for f in folders)
    assert one == same
    assert one != other


def test_identity_follows_the_content_of_the_files(tmp_path: Path) -> None:
    frame = table(AU12_r=[0.1, 0.2, 0.3, 0.4])
    one = save(tmp_path / "x", frame)
    other = save(tmp_path / "y", frame.assign(AU12_r=[0.4, 0.3, 0.2, 0.1]))
    assert OpenFace(one).identity() != OpenFace(other).identity()


def test_start_and_end_choose_the_frames(tmp_path: Path) -> None:
    folder = save(tmp_path, table(100))
    found = OpenFace(folder).extract(Clip("a", start=1.0, end=2.0))
    np.testing.assert_allclose(found.intervals[[0, -1], 0], [1.0, 1.96])


# The program. The stand-in below is a script; it gets what the real one would get.

SCRIPT = f"""#!{sys.executable}
import pathlib, subprocess, sys, time
arguments = sys.argv[1:]
folder = pathlib.Path(arguments[arguments.index("-out_dir") + 1])
name = arguments[arguments.index("-of") + 1]
"""


def stand_in(folder: Path, body: str) -> str:
    """Write a script that stands in for OpenFace's program; return its path."""
    path = folder / "stand_in_for_openface"
    path.write_text(SCRIPT + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def writes(frame: pd.DataFrame) -> str:
    return f"(folder / (name + '.csv')).write_text({frame.to_csv(index=False)!r})\n"


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """A clip whose content nobody reads."""
    (tmp_path / "film.mp4").write_bytes(b"film")
    return Clip("a", video=tmp_path / "film.mp4")


def test_the_program_is_run_and_its_table_read(tmp_path: Path, clip: Clip) -> None:
    binary = stand_in(tmp_path, writes(table()))
    extractor = OpenFace(binary=binary)
    extractor.prepare()
    found = extractor.extract(clip)
    check_features(found, 35)
    assert len(found.values) == 4


def test_the_program_gets_the_video_and_a_folder_of_its_own(tmp_path: Path, clip: Clip) -> None:
    log = tmp_path / "log"
    binary = stand_in(tmp_path, f"open({str(log)!r}, 'a').write(repr(arguments) + '\\n')\n" + writes(table()))
    extractor = OpenFace(binary=binary)
    extractor.extract(clip)
    extractor.extract(clip)
    first, second = (eval(line) for line in log.read_text().splitlines())
    assert first[first.index("-f") + 1] == str(clip.video)
    assert {"-aus"} <= set(first)
    assert "-au_static" not in first  # SYSTEMS 2.4: the dynamic mode
    folders = [Path(a[a.index("-out_dir") + 1]) for a in (first, second)]
    assert folders[0] != folders[1]
    assert not any(f.exists() for f in folders)


@pytest.mark.parametrize(
    "name", ["-out_dir.mp4", "--help", "a; touch x.mp4", "$(touch x).mp4", "new\nline.mp4"]
)
def test_a_name_cannot_become_an_option_or_a_command(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"film")
    log = tmp_path / "log"
    binary = stand_in(tmp_path, f"open({str(log)!r}, 'w').write(repr(arguments))\n" + writes(table()))
    OpenFace(binary=binary).extract(Clip("a", video=tmp_path / name))
    arguments = eval(log.read_text())
    assert arguments[:2] == ["-f", str(tmp_path / name)]
    assert len(arguments) == 8
    assert not (tmp_path / "x").exists()
    assert not Path("x").exists()


def test_a_program_that_hangs_is_stopped(tmp_path: Path, clip: Clip) -> None:
    began = time.monotonic()
    with pytest.raises(OpenFaceError, match=r"^took longer than 0\.5 s on film\.mp4$"):
        OpenFace(binary=stand_in(tmp_path, "time.sleep(30)\n"), timeout=0.5).extract(clip)
    assert time.monotonic() - began < 5


def wrapper(folder: Path, body: str) -> str:
    """Return a script that leaves the work to another program, as one around a container does."""
    return stand_in(folder, f"subprocess.run([sys.executable, '-c', {body!r}])\n")


def test_a_wrapper_that_hangs_is_stopped(tmp_path: Path, clip: Clip) -> None:
    began = time.monotonic()
    with pytest.raises(OpenFaceError):
        OpenFace(binary=wrapper(tmp_path, "import time; time.sleep(4)"), timeout=0.5).extract(clip)
    assert time.monotonic() - began < 3


def test_what_a_wrapper_started_is_stopped_with_it(tmp_path: Path, clip: Clip) -> None:
    late = tmp_path / "late"
    binary = wrapper(tmp_path, f"import time, pathlib; time.sleep(1.5); pathlib.Path({str(late)!r}).touch()")
    with pytest.raises(OpenFaceError):
        OpenFace(binary=binary, timeout=0.5).extract(clip)
    time.sleep(2)
    assert not late.exists()


def until(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("wrapped", [False, True])
def test_nothing_of_it_is_left_when_the_process_that_runs_it_is_killed(
    tmp_path: Path, clip: Clip, wrapped: bool
) -> None:
    """As a decode worker is that takes too long, and all of them are when a run is stopped."""
    log = tmp_path / "log"
    works = (
        f"import os, pathlib, time; note = pathlib.Path({str(log)!r} + 'x')\n"
        f"note.write_text(f'{{os.getpid()}} {{os.environ[\"AT\"]}}'); note.rename({str(log)!r})\n"
        "time.sleep(60)"
    )
    body = f"import os; os.environ['AT'] = str(folder)\n(folder / 'part').touch()\nwork = {works!r}\n"
    body += "subprocess.run([sys.executable, '-c', work])\n" if wrapped else "exec(work)\n"
    runs = (
        "import sys, pathlib; from extractors import Clip; from extractors.openface import OpenFace\n"
        "OpenFace(binary=sys.argv[1]).extract(Clip('a', video=pathlib.Path(sys.argv[2])))"
    )
    house = Path(__file__).parents[2]
    worker = subprocess.Popen(
        [sys.executable, "-c", runs, stand_in(tmp_path, body), str(clip.video)], cwd=house
    )
    try:
        until(log.exists)
        number, folder = log.read_text().split()
        assert (Path(folder) / "part").exists()
    finally:
        worker.kill()
        worker.wait()
    until(lambda: not Path(folder).exists())
    until(lambda: not is_running(int(number)))


def is_running(number: int) -> bool:
    """Tell whether a process does anything still; nobody may be there who asks how a dead one ended."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "sys.exit('model/main_clm.txt is missing')\n",
            "exit code 1 on film.mp4: model/main_clm.txt is missing",
        ),
        ("print('one'); print('two')\n", "exit code 0 on film.mp4: two"),
        ("pass\n", "exit code 0 on film.mp4: no output"),
        (writes(table()) + "sys.exit(3)\n", "exit code 3 on film.mp4: no output"),
        ("import os; os.abort()\n", "exit code -6 on film.mp4: no output"),
    ],
    ids=["fails", "writes nothing", "says nothing", "fails late", "crashes"],
)
def test_a_program_that_fails_says_why(tmp_path: Path, clip: Clip, body: str, message: str) -> None:
    with pytest.raises(OpenFaceError, match=f"^{message}$"):
        OpenFace(binary=stand_in(tmp_path, body)).extract(clip)


def test_what_a_program_prints_may_be_any_bytes(tmp_path: Path, clip: Clip) -> None:
    binary = stand_in(tmp_path, "sys.stderr.buffer.write(b'M\\xfcller.mp4\\n'); sys.exit(1)\n")
    with pytest.raises(OpenFaceError, match="exit code 1"):
        OpenFace(binary=binary).extract(clip)


@pytest.mark.parametrize(
    "body", [writes(table(0)), "(folder / 'clip.csv').write_text('')\n"], ids=["header", "empty"]
)
def test_a_table_without_frames_is_refused(tmp_path: Path, clip: Clip, body: str) -> None:
    with pytest.raises(DecodeError, match=r"^clip\.csv: "):
        OpenFace(binary=stand_in(tmp_path, body)).extract(clip)


def test_a_missing_program_says_where_to_get_it_and_how_to_do_without(tmp_path: Path, clip: Clip) -> None:
    extractor = OpenFace(binary=str(tmp_path / "FeatureExtraction"))
    with pytest.raises(WeightsError) as caught:
        extractor.prepare()
    for part in (
        "https://github.com/TadasBaltrusaitis/OpenFace",
        "research only",
        "binary: ",
        "csv_dir: DIR",
    ):
        assert part in str(caught.value)
    with pytest.raises(WeightsError, match="cannot run"):
        extractor.extract(clip)


def test_another_program_is_another_identity(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = stand_in(tmp_path, writes(table())), stand_in(tmp_path / "other", writes(table(9)))
    assert OpenFace(binary=one).identity() != OpenFace(binary=other).identity()


@pytest.mark.realdata
def test_real_openface_output_has_35_columns_and_100_rows(real_data: Path) -> None:
    found = OpenFace(real_data / "edge_videos").extract(Clip("OpenFace_Test"))
    check_features(found, 35)
    assert found.values.shape == (100, 35)
    intensities, presences = found.values[:, :17], found.values[:, 17:]
    assert intensities.min() >= 0
    assert intensities.max() <= 5
    assert set(np.unique(presences)) <= {0, 1}
    assert (np.diff(found.intervals[:, 0]) > 0).all()
