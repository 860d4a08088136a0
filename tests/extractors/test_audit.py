"""What a container says is held against what was decoded, without decoding anything twice."""

import os
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import soundfile
from clip_makers import paint, tone, write_clip

import extractors.video
from extractors.audit import AUDITED, Audit, ClipAudit, Stated
from extractors.contract import Clip
from extractors.reading import frames_of, shown_of, sound_of
from extractors.shared import Shared
from extractors.video import decode

RATE = 16000


def pictures(path: Path, shared: Shared | None = None, start: float | None = None) -> ClipAudit:
    clip = Clip("a", video=path, start=start, shared=shared, audit=Audit())
    for _ in frames_of(clip, 0.04):
        pass
    return found(clip)


def sound(path: Path, start: float | None = None, end: float | None = None) -> ClipAudit:
    clip = Clip("a", audio=path, start=start, end=end, audit=Audit())
    sound_of(clip, 8000)
    return found(clip)


def found(clip: Clip) -> ClipAudit:
    assert clip.audit is not None
    audit = clip.audit.found()
    assert audit is not None
    return audit


def test_a_sound_clip_has_nothing_odd(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 50, sound=[(0, tone(2, RATE))])
    audit = pictures(path)
    assert (audit.container_frames, audit.decoded_frames, audit.repeated, audit.missing) == (50, 50, 0, 0)
    assert (audit.nominal_rate, audit.measured_rate, audit.variable_rate) == (25, 25, False)
    assert audit.picture_seconds == audit.stated_picture_seconds == 2
    assert audit.sound_seconds == pytest.approx(2, abs=0.07)  # a whole number of frames of 64 ms
    assert audit.start_difference == pytest.approx(0, abs=0.07)
    assert audit.end_difference == pytest.approx(0, abs=0.07)
    assert (audit.partly, audit.first_time_stamp) == (False, 0)
    assert audit.sound_gaps is None  # of the sound only the header was read


def test_what_reads_nothing_finds_nothing() -> None:
    assert Audit().found() is None


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_repeated_pictures_are_counted(tmp_path: Path, codec: str) -> None:
    still = [paint(i // 2) for i in range(20)]  # each of ten twice
    audit = pictures(write_clip(tmp_path / "a.mkv", still, codec=codec, options={"qp": "0"}))
    assert (audit.decoded_frames, audit.repeated) == (20, 10)


def test_a_change_of_one_pixel_is_no_repetition(tmp_path: Path) -> None:
    frames = [paint(0) for _ in range(3)]
    frames[1][1, 1] = 255
    audit = pictures(write_clip(tmp_path / "a.mkv", frames, codec="ffv1"))
    assert audit.repeated == 0
    assert pictures(write_clip(tmp_path / "b.mkv", [paint(0)] * 3, codec="ffv1")).repeated == 2


@pytest.mark.parametrize("pixels", ["yuv420p10le", "rgb24", "gray"])
def test_pictures_of_any_layout_are_compared(tmp_path: Path, pixels: str) -> None:
    codec = {"rgb24": "png", "gray": "ffv1", "yuv420p10le": "ffv1"}[pixels]
    frames = [paint(0), paint(0), paint(0)]
    frames[2][:, -1] = 200  # the last column, where half a line would not see it
    path = tmp_path / ("a.mov" if codec == "png" else "a.mkv")
    audit = pictures(write_clip(path, frames, codec=codec, pixels=pixels))
    assert audit.repeated == 1


def write_palette_clip(path: Path, codec: str, numbers: list[int], shift: dict[int, int]) -> Path:
    """Write pictures of a palette: `paint(number)`, with all colours of some frames shifted."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = paint(0).shape[:2]
        stream.pix_fmt = "pal8"
        for i, number in enumerate(numbers):
            palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1) + shift.get(i, 0)
            content = (paint(number)[..., 0].copy(), palette.astype(np.uint8))
            frame = av.VideoFrame.from_ndarray(content, "pal8")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ["rawvideo", "zmbv"])
def test_pictures_of_a_palette_are_compared_with_their_colours(tmp_path: Path, codec: str) -> None:
    path = write_palette_clip(tmp_path / "a.avi", codec, [0, 1, 1, 2, 2, 2], shift={4: 9})
    assert [f.frame.format.name for f in decode(path)] == ["pal8"] * 6
    assert [f.repeats for f in decode(path)] == [False, False, True, False, False, False]


def test_pictures_that_cannot_be_compared_cost_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(*_: object) -> bool:
        raise ValueError("no such layout")

    path = write_clip(tmp_path / "a.mkv", [paint(0)] * 3, codec="ffv1")
    monkeypatch.setattr(extractors.video, "_same", torn)
    audit = pictures(path)
    assert (audit.decoded_frames, audit.repeated) == (3, 0)


def test_gaps_between_time_stamps_are_missing_frames(tmp_path: Path) -> None:
    times = [i / 25 for i in range(40) if i not in (7, 20, 21)]
    audit = pictures(write_clip(tmp_path / "a.mp4", len(times), times=times))
    assert (audit.decoded_frames, audit.missing, audit.variable_rate) == (37, 3, False)
    assert audit.longest_step == pytest.approx(0.12)
    assert audit.measured_rate == pytest.approx(25)


def test_a_variable_rate_is_told_from_missing_frames(tmp_path: Path) -> None:
    times = [0.0]
    for i in range(39):
        times.append(round(times[-1] + (0.033 if i % 3 else 0.066), 3))
    audit = pictures(write_clip(tmp_path / "a.mp4", 40, times=times))
    assert (audit.variable_rate, audit.missing) == (True, None)
    assert (audit.shortest_step, audit.longest_step) == (pytest.approx(0.033), pytest.approx(0.066))
    assert audit.measured_rate == pytest.approx(39 / times[-1], rel=1e-3)


def test_time_stamps_in_whole_milliseconds_are_a_constant_rate(tmp_path: Path) -> None:
    times = [round(i / 120, 3) for i in range(60)]  # steps of 8 and 9 ms
    assert pictures(write_clip(tmp_path / "a.mkv", 60, times=times)).variable_rate is False


@pytest.mark.parametrize(("begin", "seconds"), [(0.0, 0.8), (1.0, 1.0)])
def test_sound_that_begins_or_ends_elsewhere_is_measured(
    tmp_path: Path, begin: float, seconds: float
) -> None:
    path = write_clip(tmp_path / "a.mkv", 50, sound=[(begin, tone(seconds, RATE))], sound_codec="flac")
    clip = Clip("a", video=path, audit=Audit())
    assert sound_of(clip, RATE).rate == RATE
    for audit in (pictures(path), found(clip)):
        assert audit.start_difference == pytest.approx(begin, abs=0.01)
        assert audit.end_difference == pytest.approx(begin + seconds - 2, abs=0.06)


def test_gaps_in_the_sound_are_named(tmp_path: Path) -> None:
    pieces = [(0.0, tone(0.5, RATE)), (1.0, tone(0.5, RATE))]
    audit = sound(write_clip(tmp_path / "a.mkv", sound=pieces, sound_codec="flac"))
    assert audit.sound_gaps == pytest.approx(0.5, abs=0.07)
    assert audit.sound_seconds == pytest.approx(1.5, abs=0.07)
    assert (audit.decoded_frames, audit.picture_seconds) == (None, None)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_files_are_held_against_their_headers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(1.25, RATE), RATE)
    audit = sound(path)
    assert (audit.sound_seconds, audit.stated_sound_seconds, audit.sound_gaps) == (1.25, 1.25, 0)
    assert audit.partly is False
    part = sound(path, 0.5, 1.0)
    assert (part.sound_seconds, part.partly) == (1.25, True)  # by its header


def test_a_part_of_a_clip_is_said_to_be_one(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 50)
    late = pictures(path, start=1.0)
    assert late.partly
    assert late.decoded_frames is not None
    assert 25 <= late.decoded_frames < 50
    assert late.picture_seconds == 2  # by its header
    clip = Clip("a", video=path, audit=Audit())
    frames = shown_of(clip, 0.04)
    for _ in range(10):
        next(frames)
    del frames
    assert found(clip).partly
    assert found(clip).decoded_frames == 11  # one is looked at to know how long the one before is shown


def test_each_reader_of_shared_frames_has_its_own_audit(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 50)
    shared = Shared(readers=2)
    one, two = (Clip("a", video=path, shared=shared, audit=Audit()) for _ in range(2))
    first, second = frames_of(one, 0.04), frames_of(two, 0.04)
    assert len(list(first)) == 50
    next(second)
    assert (found(one).decoded_frames, found(one).partly) == (50, False)
    assert (found(two).decoded_frames, found(two).partly) == (2, True)


def test_time_stamps_that_begin_late_count_from_zero(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", 50, shift=10.0)
    audit = pictures(path)
    assert audit.first_time_stamp is not None
    assert audit.first_time_stamp >= 10
    assert audit.picture_seconds == pytest.approx(2, abs=0.05)


def test_time_stamps_that_go_back_are_counted_and_change_no_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", 50, codec="mpeg2video")
    path.write_bytes(2 * path.read_bytes())  # joined as transport streams may be
    audit = pictures(path)
    assert (audit.decoded_frames, audit.back, audit.missing, audit.variable_rate) == (100, 1, 0, False)
    assert audit.measured_rate == pytest.approx(25, rel=1e-3)
    assert audit.shortest_step == pytest.approx(0.04, abs=1e-3)


def test_a_moment_joined_to_a_clip_does_not_make_it_look_cut(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", 50, codec="mpeg2video")
    moment = write_clip(tmp_path / "b.ts", 1, codec="mpeg2video")
    path.write_bytes(path.read_bytes() + moment.read_bytes())
    audit = pictures(path)
    assert (audit.decoded_frames, audit.back) == (51, 1)


class At(NamedTuple):
    time: float
    length: float = 0.04
    repeats: bool = False
    stated: Stated = Stated()


@pytest.mark.parametrize(
    ("times", "rate", "back"),
    [
        ([0.0, 0.04, 0.08, 0.12, 0.16, 0.0], 25, 1),  # ends where it began
        ([1.0, 1.04, 1.08, 1.12, 0.0], 25, 1),
        ([0.0, 0.04, 0.08, 0.12, 5.0, 5.04], 25 * 5 * 0.04 / 5.04, 0),
        ([0.2, 0.1, 0.0], None, 2),
        ([0.0, 0.0, 0.0], None, 0),
    ],
)
def test_time_stamps_of_any_kind_are_measured(times: list[float], rate: float | None, back: int) -> None:
    notes = Audit()
    list(notes.watch(iter([At(t) for t in times]), from_the_start=True))
    audit = notes.found()
    assert audit is not None
    assert audit.back == back
    assert audit.measured_rate == (rate if rate is None else pytest.approx(rate, rel=1e-3))


def test_one_frame_has_no_rate(tmp_path: Path) -> None:
    audit = pictures(write_clip(tmp_path / "a.mp4", 1))
    assert (audit.decoded_frames, audit.measured_rate, audit.variable_rate, audit.missing) == (
        1, None, None, None,
    )  # fmt: skip


def test_the_cover_of_an_album_is_no_picture(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp3", sound=[(0, tone(1, RATE))], sound_codec="libmp3lame")
    assert sound(path).picture_seconds is None


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "frames", "variable", "start", "end"),
    [
        ("face_noface.mov", (169, 169), True, 2.430, 0.022),
        ("noface_face.mov", (169, 169), True, 0.0, -2.433),
        ("no_face.mp4", (98, 95), False, 0.0, -0.070),
        ("single_face.mp4", (72, 72), False, 0.0, 0.019),
    ],
)
def test_real_clips_that_break_pipelines(
    name: str, frames: tuple[int, int], variable: bool, start: float, end: float
) -> None:
    path = Path(os.environ.get("AFFECTSTACK_DATA", "no-data"), "edge_videos", name)
    if not path.is_file():
        pytest.skip(f"no {path}; set AFFECTSTACK_DATA")
    audit = pictures(path)
    assert (audit.container_frames, audit.decoded_frames) == frames
    assert (audit.variable_rate, audit.repeated) == (variable, 0)
    assert audit.start_difference == pytest.approx(start, abs=1e-3)
    assert audit.end_difference == pytest.approx(end, abs=1e-3)


def test_every_value_is_plain(tmp_path: Path) -> None:
    """It is written as JSON."""
    audit = pictures(write_clip(tmp_path / "a.mp4", 50, sound=[(0, tone(2, RATE))]))
    kinds = {type(getattr(audit, name)) for name in AUDITED}
    assert kinds <= {bool, int, float, type(None)}
    assert not any(isinstance(getattr(audit, name), np.generic) for name in AUDITED)
