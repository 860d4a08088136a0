"""`sample_frames` gives the frame that a player would show at each grid time."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_makers import cut, paint, read_number, rotate_mp4, shown, tone, write_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extractors import video
from extractors.contract import DecodeError, LimitExceededError, MissingMediaError
from extractors.video import Frame, Resize, grid_frames, sample_frames


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [read_number(f.image) for f in frames]


CONTAINERS = [
    ("mp4", "libx264"), ("mov", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("flv", "libx264"),
    ("mp4", "libx265"), ("flv", "flv"), ("avi", "mpeg4"), ("mpg", "mpeg2video"), ("wmv", "wmv2"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_every_frame_of_a_clip_comes_once_at_its_own_rate(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 60, codec=codec)
    frames = list(sample_frames(path, 0.04))
    assert numbers(frames) == list(range(60))
    assert [f.time for f in frames] == pytest.approx([i * 0.04 for i in range(60)])


@pytest.mark.parametrize("step", [1 / 60, 1 / 30, 0.04, 0.1, 1 / 3, 1.0, 5.0])
@pytest.mark.parametrize("fps", [12, 25, 30])
def test_a_constant_rate_is_sampled_as_a_player_shows_it(tmp_path: Path, fps: int, step: float) -> None:
    path = write_clip(tmp_path / "clip.mp4", 2 * fps, fps=fps)
    frames = list(sample_frames(path, step))
    starts = [i / fps for i in range(2 * fps)]
    assert numbers(frames) == [shown(starts, f.time) for f in frames]
    assert len(frames) == int(np.ceil(2 / step - 1e-6))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.integers(10, 400), min_size=1, max_size=15),
    step=st.sampled_from([0.02, 1 / 30, 0.05, 0.13, 0.5]),
    share=st.none() | st.floats(0, 0.9),
    suffix=st.sampled_from(["mp4", "mkv"]),
)
def test_a_variable_rate_is_sampled_as_a_player_shows_it(
    tmp_path: Path, gaps: list[int], step: float, share: float | None, suffix: str
) -> None:
    times = [0.0, *(float(t) for t in np.cumsum(gaps) / 1000)]
    start = None if share is None else share * times[-1]
    plain = {"bf": "0"}  # starts among frames that are stored out of order have a test of their own
    path = write_clip(tmp_path / f"clip.{suffix}", len(times), times=times, gop=4, options=plain)
    frames = list(sample_frames(path, step, start=start))
    assert numbers(frames) == [shown(times, f.time) for f in frames]
    assert [f.time for f in frames] == pytest.approx([(start or 0) + i * step for i in range(len(frames))])
    assert frames[-1].time > times[-1] - step


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.5, 1.5), (1.02, 1.1), (1.9, None), (None, 0.3)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_start_and_end_are_honoured(
    tmp_path: Path, suffix: str, start: float | None, end: float | None
) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 50)
    frames = list(sample_frames(path, 0.04, start=start, end=end))
    times = [f.time for f in frames]
    assert times == pytest.approx(np.arange(start or 0, (end or 2.0) - 1e-6, 0.04))
    assert numbers(frames) == [shown([i * 0.04 for i in range(50)], t) for t in times]


def test_an_end_beyond_the_clip_is_the_end_of_the_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 10)
    assert len(list(sample_frames(path, 0.04, end=99.0))) == 10


@pytest.mark.parametrize(
    ("suffix", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video"), ("ts", "mpeg2video"), ("flv", "libx264")]
)
def test_a_start_is_exact_in_containers_without_an_index(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 100, codec=codec)
    starts = (0.2, 1.0, 2.52, 3.32)
    found = [read_number(next(sample_frames(path, 0.04, start=s, end=s + 0.04)).image) for s in starts]
    assert found == [5, 25, 63, 83]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_start_just_before_a_key_frame_is_exact(tmp_path: Path, suffix: str) -> None:
    """A key frame of H.264 is decoded two frames before it is shown."""
    path = write_clip(tmp_path / f"clip.{suffix}", 50, gop=8)
    starts = [k * 0.04 for k in range(50)]
    found = [read_number(next(iter(sample_frames(path, 0.04, start=s))).image) for s in starts]
    assert found == list(range(50))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_start_just_before_a_key_frame_is_exact_where_the_rate_falls(tmp_path: Path, suffix: str) -> None:
    times = [k * 0.04 for k in range(20)] + [0.8 + k * 0.2 for k in range(29)]
    path = write_clip(tmp_path / f"clip.{suffix}", len(times), times=times, gop=8)
    found = [read_number(next(iter(sample_frames(path, 0.04, start=s))).image) for s in times]
    assert found == list(range(len(times)))


def test_a_start_in_the_last_group_of_pictures_is_found(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.ts", 100, codec="mpeg2video")
    assert numbers(list(sample_frames(path, 0.04, start=3.92))) == [98, 99]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_clip_that_begins_late_on_its_clock_begins_at_zero(tmp_path: Path, suffix: str) -> None:
    frames = list(sample_frames(write_clip(tmp_path / f"clip.{suffix}", 20, shift=1.6), 0.04))
    assert numbers(frames) == list(range(20))
    assert frames[0].time == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_video_that_begins_after_the_sound_keeps_its_start(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 20, shift=0.6, sound=[(0, tone(1.4, 16000))])
    frames = list(sample_frames(path, 0.04))
    assert [f.time for f in frames] == pytest.approx([0.6 + i * 0.04 for i in range(20)], abs=1e-3)
    assert numbers(frames) == list(range(20))


def test_the_first_frame_stands_for_the_time_before_it(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 10, shift=0.4, sound=[(0, tone(0.8, 16000))])
    frames = list(sample_frames(path, 0.1, start=0.0))
    assert frames[0].time == 0
    assert numbers(frames)[:6] == [0, 0, 0, 0, 0, 2]


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    (frame,) = sample_frames(write_clip(tmp_path / "clip.mp4", [paint(77)]), 0.04)
    assert (frame.time, read_number(frame.image)) == (0, 77)


@pytest.mark.parametrize(
    ("codec", "pixels", "size"),
    [
        ("libx264", "yuv444p", (97, 65)),
        ("libx264", "yuv420p10le", (96, 64)),
        ("libx264", "gray", (96, 64)),
        ("ffv1", "rgb48le", (51, 33)),
    ],
)
def test_odd_sizes_and_deep_pixels_come_as_eight_bit_rgb(
    tmp_path: Path, codec: str, pixels: str, size: tuple[int, int]
) -> None:
    pictures = [paint(i, *size) for i in range(5)]
    frames = list(
        sample_frames(write_clip(tmp_path / "clip.mkv", pictures, codec=codec, pixels=pixels), 0.04)
    )
    assert numbers(frames) == list(range(5))
    assert {(f.image.shape, f.image.dtype.str) for f in frames} == {((size[1], size[0], 3), "|u1")}


def test_colours_are_in_the_order_red_green_blue(tmp_path: Path) -> None:
    picture = np.zeros((64, 96, 3), dtype=np.uint8)
    picture[:, :32, 0] = picture[:, 32:64, 1] = picture[:, 64:, 2] = 255
    (frame,) = sample_frames(write_clip(tmp_path / "clip.mp4", [picture]), 1)
    centres = frame.image[32, [16, 48, 80]]
    assert centres.argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), "top left"),
        ((0, 1, -1, 0), "top right"),  # (x, y) is shown at (-y, x): a quarter turn clockwise
        ((-1, 0, 0, -1), "bottom right"),
        ((0, -1, 1, 0), "bottom left"),
    ],
)
def test_a_rotation_flag_is_followed(tmp_path: Path, matrix: tuple[int, int, int, int], corner: str) -> None:
    picture = np.zeros((64, 96, 3), dtype=np.uint8)
    picture[:16, :16] = 255
    path = rotate_mp4(write_clip(tmp_path / "clip.mp4", [picture]), matrix)
    (frame,) = sample_frames(path, 1)
    height, width = frame.image.shape[:2]
    assert (width > height) == (corner in ("top left", "bottom right"))
    row, column = np.argwhere(frame.image[..., 0] > 127).mean(axis=0)
    vertical = "top" if row < height / 2 else "bottom"
    assert f"{vertical} {'left' if column < width / 2 else 'right'}" == corner


@pytest.mark.parametrize(
    ("size", "expected"), [((96, 64), (48, 32)), ((64, 96), (32, 48)), ((130, 60), (69, 32))]
)
def test_the_short_side_is_resized_and_the_shape_kept(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    (frame,) = sample_frames(write_clip(tmp_path / "clip.mp4", [paint(3, *size)]), 1, resize=Resize(32))
    assert frame.image.shape == (expected[1], expected[0], 3)


def test_frames_do_not_share_memory(tmp_path: Path) -> None:
    frames = list(sample_frames(write_clip(tmp_path / "clip.mp4", 5), 0.04))
    for one, other in pairwise(frames):
        assert not np.shares_memory(one.image, other.image)


def test_a_file_without_video_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "voice.mp4", sound=[(0, tone(1, 16000))])
    with pytest.raises(MissingMediaError, match=r"^voice\.mp4: no video stream$"):
        list(sample_frames(path, 0.04))


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(paint(1, 32, 32), "rgb24")))
        container.mux(cover.encode(None))
        samples = tone(2, 16000)
        for first in range(0, len(samples), 1024):
            piece = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], "fltp", "mono")
            piece.sample_rate, piece.pts = 16000, first
            container.mux(voice.encode(piece))
        container.mux(voice.encode(None))
    with pytest.raises(MissingMediaError):
        list(sample_frames(path, 0.04))


def half_of_a_stream(folder: Path) -> Path:
    """Return four seconds of MP4 with the index in front, without the second half of its bytes."""
    noise = np.random.default_rng(0).integers(0, 255, (100, 64, 96, 3), dtype=np.uint8)
    return cut(write_clip(folder / "clip.mp4", list(noise), container_options={"movflags": "faststart"}), 0.5)


def test_a_video_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"^clip\.mp4: video stops after \d\.\d\d s of 4\.00 s$"):
        list(sample_frames(half_of_a_stream(tmp_path), 0.04))


def test_what_lies_before_the_cut_is_still_read(tmp_path: Path) -> None:
    assert len(list(sample_frames(half_of_a_stream(tmp_path), 0.04, start=0.2, end=0.6))) == 10


def test_a_piece_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="stops after"):
        list(sample_frames(half_of_a_stream(tmp_path), 0.04, start=1.0, end=3.5))


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("webm", "libvpx-vp9")])
def test_a_matroska_file_that_was_cut_short_is_refused(tmp_path: Path, suffix: str, codec: str) -> None:
    path = cut(write_clip(tmp_path / f"clip.{suffix}", 100, codec=codec), 0.5)
    with pytest.raises(DecodeError, match="stops after"):
        list(sample_frames(path, 0.04))


@pytest.mark.parametrize(("start", "end"), [(5.0, None), (5.0, 6.0), (1.0, 0.5), (None, 0.0)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_piece_outside_the_clip_has_no_frames(
    tmp_path: Path, suffix: str, start: float | None, end: float | None
) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 50)
    assert list(sample_frames(path, 0.04, start=start, end=end)) == []


def test_two_frames_that_claim_eleven_days_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 2, times=[0.0, 1e6])
    with pytest.raises(DecodeError):
        for _ in islice(sample_frames(path, 0.04, resize=Resize(32)), 5000):
            pass


def changing_size(path: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Write one stream of pictures whose header states the size of the first."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "rgb24"
        for number, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create("png", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
            encoder.time_base = Fraction(1, 25)
            picture = np.full((height, width, 3), 90, dtype=np.uint8)
            for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts = packet.dts = number
                container.mux(packet)
    return path


BOMBS = {"by its header": [(8192, 8192)], "midway": [(96, 64), (96, 64), (8192, 8192), (96, 64)]}
_CHILD = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
from extractors.video import Resize, sample_frames
count = 0
try:
    for frame in sample_frames(Path(sys.argv[1]), 0.04, resize=Resize(32)):
        count += 1
except BaseException as error:
    print(json.dumps([type(error).__name__, str(error), count]))
else:
    print(json.dumps(["", "", count]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_picture_larger_than_any_film_is_refused_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = changing_size(tmp_path / "clip.mov", BOMBS[kind])
    assert path.stat().st_size < 1_000_000
    command = [sys.executable, "-c", _CHILD, str(path)]
    root = Path(video.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=root)
    assert ended.returncode == 0, ended.stderr
    name, message, _ = json.loads(ended.stdout)
    assert name == "LimitExceededError"
    assert message == (
        f"clip.mov: frames of 8192 x 8192 pixels; at most {video.MAX_PIXELS} in all are decoded"
    )


@pytest.mark.parametrize(("limit", "refused"), [(96 * 64, False), (96 * 64 - 1, True)])
@pytest.mark.parametrize("sizes", [[(96, 64)], [(48, 32), (96, 64), (48, 32)]], ids=["first", "later"])
def test_the_limit_is_on_the_pixels_of_one_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[tuple[int, int]], limit: int, refused: bool
) -> None:
    path = changing_size(tmp_path / "clip.mov", sizes)
    monkeypatch.setattr(video, "MAX_PIXELS", limit)
    if refused:
        with pytest.raises(LimitExceededError, match="96 x 64"):
            list(sample_frames(path, 0.04))
    else:
        assert [f.image.shape[1] for f in sample_frames(path, 0.04)] == [w for w, _ in sizes]


def test_a_header_that_states_too_much_is_enough(tmp_path: Path) -> None:
    """Nothing is decoded then: here nothing could be."""
    path = changing_size(tmp_path / "clip.mov", [(8192, 8192)])
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"GNP\x89"))
    with pytest.raises(LimitExceededError, match="8192 x 8192"):
        list(sample_frames(path, 0.04))


def test_film_of_8k_is_no_bomb() -> None:
    assert 8192 * 4320 <= video.MAX_PIXELS < 8192 * 8192


def test_a_turned_picture_is_resized_by_its_shorter_side(tmp_path: Path) -> None:
    path = rotate_mp4(write_clip(tmp_path / "clip.mp4", [paint(3)]), (0, 1, -1, 0))
    (frame,) = sample_frames(path, 1, resize=Resize(32))
    assert frame.image.shape == (48, 32, 3)


def test_sampling_stops_decoding_when_nobody_asks_for_more(tmp_path: Path) -> None:
    frames = sample_frames(half_of_a_stream(tmp_path), 0.04)
    assert read_number(next(frames).image) >= 0
    frames.close()  # type: ignore[attr-defined]  # a generator


REAL = [  # name, frames, seconds, size of the short side resized to 64
    ("edge_videos/WolfgangLanger_Pexels.mp4", 472, 19.69),
    ("edge_videos/face_noface.mov", 169, 6.38),
    ("edge_videos/noface_face.mov", 169, 6.38),
    ("edge_videos/no_face.mp4", 95, 3.96),
    ("edge_videos/single_face.mp4", 72, 2.4),
    ("grid_av/GRID/bbaf2n.mpg", 75, 3.0),
    ("grid_av/id2_vcd_swwp2s.mpg", 75, 3.0),
]


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "count", "seconds"), REAL)
def test_real_clips_decode_to_their_full_length(
    real_data: Path, name: str, count: int, seconds: float
) -> None:
    frames = list(sample_frames(real_data / name, 0.02, resize=Resize(48)))
    assert len(frames) * 0.02 == pytest.approx(seconds, abs=0.1)
    assert min(frames[0].image.shape[:2]) == 48
    different = 1 + sum((a.image != b.image).any() for a, b in pairwise(frames))
    assert 0.9 * count <= different <= count


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "edge_videos/face_noface.mov",
        "edge_videos/single_face.mp4",
        pytest.param(
            "grid_av/GRID/bbaf2n.mpg",
        ),
    ],
)
def test_a_piece_of_a_real_clip_equals_that_part_of_the_whole(real_data: Path, name: str) -> None:
    whole = {
        round(f.time, 2): f.image for f in sample_frames(real_data / name, 0.02, resize=Resize(48), start=0.0)
    }
    for start in (0.3, 1.0, 2.0):
        piece = list(sample_frames(real_data / name, 0.02, resize=Resize(48), start=start, end=start + 0.2))
        assert len(piece) == 10
        for frame in piece:
            np.testing.assert_array_equal(frame.image, whole[round(frame.time, 2)])


# How many frames there will be


@pytest.mark.parametrize("step", [0.04, 0.1, 1 / 30, 0.5])
@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (0.3, None), (None, 0.7), (0.2, 0.9), (5.0, None), (0.5, 0.2)]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_the_number_of_frames_is_known_without_decoding(
    tmp_path: Path, suffix: str, start: float | None, end: float | None, step: float
) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 31, shift=0.0 if suffix == "avi" else 1.6)
    expected = len(list(sample_frames(path, step, start=start, end=end)))
    assert grid_frames(path, step, start=start, end=end) == expected


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", ["edge_videos/noface_face.mov", "edge_videos/single_face.mp4", "grid_av/id2_vcd_swwp2s.mpg"]
)
def test_the_number_of_frames_of_real_clips_is_known(real_data: Path, name: str) -> None:
    assert grid_frames(real_data / name, 0.05) == len(
        list(sample_frames(real_data / name, 0.05, resize=Resize(32)))
    )


@pytest.mark.parametrize(("how", "size"), [("short", (48, 32)), ("square", (32, 32))])
def test_pictures_are_resized_as_asked(tmp_path: Path, how: Any, size: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "clip.mp4", [paint(3, 96, 64)])
    for interpolation in ("bilinear", "area", "bicubic"):
        (frame,) = sample_frames(path, 1, resize=Resize(32, how, interpolation))
        assert frame.image.shape == (size[1], size[0], 3)
