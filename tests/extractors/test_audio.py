"""Sound as one channel at one rate: whole, at its own time, or refused."""

import json
import os
import struct
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from clip_makers import cut, openings, patch, set_flac_length, tone, write_clip
from sounds import RATE, noise, write_sound

from extractors import audio, sound_blocks
from extractors.audio import Waveform, read_waveform, read_waveforms
from extractors.contract import DecodeError, LimitExceededError, MissingMediaError, TooShortError
from extractors.sound_blocks import BLOCK


def onset(samples: np.ndarray, rate: int = RATE) -> float:
    return float(np.argmax(np.abs(samples) > 0.1)) / rate


@pytest.mark.parametrize(
    ("name", "subtype", "bits"),
    [("a.wav", "PCM_16", 15), ("a.wav", "PCM_24", 23), ("a.wav", "FLOAT", 24), ("a.wav", "DOUBLE", 24),
     ("a.wav", "PCM_U8", 7), ("A.WAV", "PCM_16", 15), ("a.flac", "PCM_16", 15), ("a.flac", "PCM_24", 23),
     ("a.aiff", "PCM_16", 15), ("a.w64", "PCM_16", 15), ("a.caf", "PCM_16", 15)],
)  # fmt: skip
def test_uncompressed_sound_comes_back_to_its_last_bit(
    tmp_path: Path, name: str, subtype: str, bits: int
) -> None:
    samples = noise()
    sound = read_waveform(write_sound(tmp_path / name, samples, subtype=subtype), RATE)
    assert (sound.samples.dtype, sound.rate, sound.start) == (np.float32, RATE, 0.0)
    np.testing.assert_allclose(sound.samples, samples, atol=2.0**-bits)


@pytest.mark.parametrize("native", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.345])
def test_resampling_keeps_the_length_within_one_sample(tmp_path: Path, native: int, seconds: float) -> None:
    samples = tone(seconds, native)
    sound = read_waveform(write_sound(tmp_path / "a.wav", samples, native), RATE)
    assert abs(len(sound.samples) - len(samples) / native * RATE) <= 1


@pytest.mark.parametrize("native", [8000, 44100, 48000])
def test_resampling_keeps_pitch_level_and_place(tmp_path: Path, native: int) -> None:
    samples = tone(1, native, hz=1000, level=0.5)
    samples[: native // 2] = 0
    sound = read_waveform(write_sound(tmp_path / "a.wav", samples, native), RATE)
    assert onset(sound.samples) == pytest.approx(0.5, abs=0.001)
    tail = sound.samples[10000:15000]
    np.testing.assert_allclose(tail, tone(1, RATE, hz=1000, level=0.5)[10000:15000], atol=0.01)


def test_resampling_does_not_fold_high_tones_down(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, 48000, hz=15000, level=0.9), 48000)
    assert np.abs(read_waveform(path, RATE).samples[1000:-1000]).max() < 1e-3


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "aac"), ("mkv", "flac"), ("mov", "pcm_s16le"), ("avi", "mp3")]
)
def test_the_sound_of_a_video_is_read_at_its_time(tmp_path: Path, suffix: str, codec: str) -> None:
    samples = tone(2, RATE)
    samples[: RATE // 2] = 0
    path = write_clip(tmp_path / f"clip.{suffix}", 50, codec="mpeg4", sound=[(0, samples)], sound_codec=codec)
    sound = read_waveform(path, RATE)
    # AVI cannot say that an MP3 encoder begins 1,105 samples early.
    assert sound.start + onset(sound.samples) == pytest.approx(0.5, abs=0.075 if suffix == "avi" else 0.005)
    assert len(sound.samples) / RATE == pytest.approx(2, abs=0.1)


def test_the_sound_of_a_flash_video_is_read(tmp_path: Path) -> None:
    """The videos of CREMA-D are FLV files; FLV holds MP3 of 11, 22 and 44 kHz."""
    samples = tone(2, 22050)
    samples[:11025] = 0
    sounds = [(0, samples)]
    path = write_clip(
        tmp_path / "clip.flv", 50, codec="flv", sound=sounds, sound_codec="libmp3lame", rate=22050
    )
    sound = read_waveform(path, RATE)
    assert sound.start + onset(sound.samples) == pytest.approx(0.5, abs=0.075)
    assert len(sound.samples) / RATE == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("suffix", "codec", "exact"), [("mkv", "flac", 0.001), ("mp4", "aac", 0.07)])
def test_sound_that_starts_late_keeps_its_start(
    tmp_path: Path, suffix: str, codec: str, exact: float
) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 50, sound=[(0.6, tone(1, RATE))], sound_codec=codec)
    sound = read_waveform(path, RATE)
    assert sound.start == pytest.approx(0.6, abs=exact)
    assert sound.start + onset(sound.samples) == pytest.approx(0.6, abs=0.005)


def test_a_start_counts_on_the_clock_of_late_sound(tmp_path: Path) -> None:
    samples = tone(1, RATE)
    samples[: RATE // 2] = 0  # a tone from 1.1 s
    path = write_clip(tmp_path / "clip.mkv", 50, sound=[(0.6, samples)], sound_codec="flac")
    before, within = read_waveform(path, RATE, start=0.2), read_waveform(path, RATE, start=0.9)
    assert (before.start, within.start) == pytest.approx((0.6, 0.9), abs=0.001)
    assert before.start + onset(before.samples) == pytest.approx(1.1, abs=0.005)
    assert within.start + onset(within.samples) == pytest.approx(1.1, abs=0.005)


@pytest.mark.parametrize(("start", "end"), [(0.25, 0.75), (None, 0.5), (0.5, None), (0.0, 9.0), (-1.0, 0.5)])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_start_and_end_cut_the_sound(
    tmp_path: Path, name: str, start: float | None, end: float | None
) -> None:
    path = write_sound(tmp_path / name, noise())
    whole = read_waveform(path, RATE).samples
    sound = read_waveform(path, RATE, start=start, end=end)
    first, last = round(max(start or 0, 0) * RATE), min(round((end or 1.0) * RATE), len(whole))
    np.testing.assert_array_equal(sound.samples, whole[first:last])
    assert sound.start == pytest.approx(max(start or 0, 0), abs=1e-4)


@pytest.mark.parametrize(("start", "end"), [(1.5, None), (0.5, 0.5), (0.8, 0.2), (None, 0.0)])
def test_a_piece_without_sound_is_too_short(tmp_path: Path, start: float | None, end: float | None) -> None:
    path = write_sound(tmp_path / "voice.wav", noise())
    with pytest.raises(TooShortError, match=r"^voice\.wav: no sound between"):
        read_waveform(path, RATE, start=start, end=end)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_that_was_cut_short_is_refused(tmp_path: Path, subtype: str, share: float) -> None:
    path = cut(write_sound(tmp_path / "voice.wav", noise(), subtype=subtype), share)
    with pytest.raises(DecodeError, match=r"^voice\.wav: sound stops after 0\.\d\d s of 1\.00 s$"):
        read_waveform(path, RATE)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_flac_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = cut(write_sound(tmp_path / "voice.flac", noise()), share)
    with pytest.raises(DecodeError, match=r"^voice\.flac: "):
        read_waveform(path, RATE)


def test_an_mp3_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = cut(write_sound(tmp_path / "voice.mp3", noise(5)), 0.5)
    with pytest.raises(DecodeError, match=r"^voice\.mp3: sound stops after 2\.\d\d s of 5\.\d\d s$"):
        read_waveform(path, RATE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "ULAW"}),
        ("a.wav", {"subtype": "ALAW"}),
        ("a.wav", {"subtype": "IMA_ADPCM"}),
        ("a.wav", {"format": "RF64"}),
        ("a.aiff", {}),
        ("a.aiff", {"subtype": "ULAW"}),
        ("a.aifc", {"format": "AIFF", "subtype": "ALAW"}),
        ("a.w64", {}),
        ("a.caf", {}),
        ("a.caf", {"subtype": "ALAC_16"}),
        ("a.ogg", {}),
        ("a.oga", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.5, 0.9, 0.99, 0.9999])
def test_other_sound_that_was_cut_short_is_refused(
    tmp_path: Path, name: str, options: dict[str, str], share: float
) -> None:
    path = write_sound(tmp_path / name, noise(5), **options)
    assert len(read_waveform(path, RATE).samples) / RATE == pytest.approx(5, abs=0.15)  # some codecs pad
    with pytest.raises(DecodeError, match=rf"^{name}: "):
        read_waveform(cut(path, share), RATE)


def test_the_sound_of_a_matroska_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = cut(write_clip(tmp_path / "clip.mkv", sound=[(0, tone(5, RATE))]), 0.5)
    with pytest.raises(DecodeError, match="stops after"):
        read_waveform(path, RATE)


def test_a_streamed_wav_that_promises_nothing_is_read(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "voice.wav", noise(), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_waveform(path, RATE).samples) == RATE


def test_extra_chunks_of_odd_size_before_the_data_are_stepped_over(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "voice.wav", noise(), subtype="PCM_16")
    content = path.read_bytes()
    at = content.index(b"data")
    extra = b"note" + struct.pack("<I", 3) + b"abc\0"
    whole = (
        content[:4] + struct.pack("<I", len(content) - 8 + len(extra)) + content[8:at] + extra + content[at:]
    )
    path.write_bytes(whole)
    assert len(read_waveform(path, RATE).samples) == RATE
    with pytest.raises(DecodeError, match=r"0\.50 s of 1\.00 s"):
        read_waveform(cut(path, 0.5), RATE)


def test_a_header_alone_has_no_sound(tmp_path: Path) -> None:
    with pytest.raises(TooShortError, match=r"^voice\.wav: no sound"):
        read_waveform(write_sound(tmp_path / "voice.wav", np.zeros(0)), RATE)


def test_a_header_that_promises_what_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "voice.wav", noise(), subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:44])
    with pytest.raises(DecodeError, match=r"^voice\.wav: sound stops after 0\.00 s of 1\.00 s$"):
        read_waveform(path, RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize(
    "content", [b"", b"notes " * 500, b"\x89PNG\r\n\x1a\n" + bytes(99)], ids=["empty", "text", "png"]
)
def test_what_is_no_sound_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=rf"^{name}: \w"):
        read_waveform(tmp_path / name, RATE)


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingMediaError, match=r"^clip\.mp4: no sound stream$"):
        read_waveform(write_clip(tmp_path / "clip.mp4", 5), RATE)


@pytest.fixture(params=["a.wav", "a.flac", "a.mkv"])
def long_sound(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Noise of several decoded blocks, by both decoders."""
    samples = noise(15, 44100).astype(np.float32)
    assert len(samples) > 2 * BLOCK
    path = tmp_path / request.param
    if path.suffix == ".mkv":
        return write_clip(path, sound=[(0, samples)], sound_codec="pcm_f32le", rate=44100)
    return write_sound(path, samples, 44100, subtype="PCM_16")


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_resampling_in_blocks_is_resampling_in_one_piece(long_sound: Path, rate: int) -> None:
    native = read_waveform(long_sound, 44100).samples
    whole = soxr.resample(native, 44100, rate)
    streamed = read_waveform(long_sound, rate).samples
    assert len(streamed) == len(whole)
    assert np.abs(streamed - whole).max() < 1e-6


def test_one_reading_gives_every_rate(long_sound: Path) -> None:
    rates = [8000, 16000, 44100, 16000]
    with openings(long_sound) as for_all:
        together = read_waveforms(long_sound, rates, start=0.5)
    with openings(long_sound) as for_one:
        read_waveform(long_sound, 16000, start=0.5)
    assert for_all == for_one
    assert list(together) == [8000, 16000, 44100]
    for rate, sound in together.items():
        alone = read_waveform(long_sound, rate, start=0.5)
        assert (sound.rate, sound.start) == (rate, alone.start)
        np.testing.assert_array_equal(sound.samples, alone.samples)


def test_pieces_that_meet_give_the_whole(long_sound: Path) -> None:
    edge = BLOCK / 44100
    edges = [None, 0.1, edge, edge + 1 / 44100, 2 * edge + 0.7, None]
    pieces = [read_waveform(long_sound, 44100, start=start, end=end) for start, end in pairwise(edges)]
    whole = read_waveform(long_sound, 44100).samples
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), whole)
    assert len(pieces[2].samples) == 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.w64", "a.caf", "a.mp3"])
def test_a_piece_before_the_cut_of_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sound_blocks, "BLOCK", 4096)
    path = write_sound(tmp_path / name, noise(5))
    before = read_waveform(path, RATE, start=0.5, end=1.5).samples
    cut(path, 0.6)
    np.testing.assert_array_equal(read_waveform(path, RATE, start=0.5, end=1.5).samples, before)
    with pytest.raises(DecodeError):
        read_waveform(path, RATE, start=0.5, end=4.5)


def test_a_single_sample_that_resampling_leaves_nothing_of_is_too_short(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "voice.wav", noise(0.1, 48000), 48000)
    with pytest.raises(TooShortError):
        read_waveform(path, 8000, start=0, end=1 / 48000)


@pytest.mark.parametrize(
    ("samples", "silent"), [([0, 0, 0], True), ([0, -0.0], True), ([0, 1e-30, 0], False), ([-1], False)]
)
def test_only_exact_zeros_are_silence(samples: list[float], silent: bool) -> None:
    assert Waveform(np.array(samples, np.float32), RATE).silent is silent


@pytest.mark.parametrize("name", ["a.wav", "a.w64"])
def test_more_sound_than_a_clip_may_keep_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(audio, "MAX_SECONDS", 0.5)
    path = write_sound(tmp_path / name, noise())
    with pytest.raises(LimitExceededError, match=rf"^{name}: more than .* hours of sound.* start and an end"):
        read_waveform(path, RATE)
    assert len(read_waveform(path, RATE, start=0.4, end=0.9).samples) == RATE // 2


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.w64"])
def test_memory_holds_the_result_and_little_more(tmp_path: Path, name: str) -> None:
    path = write_sound(tmp_path / name, np.zeros((48000 * 60, 2), np.int16), 48000)  # 23 MB when decoded
    tracemalloc.start()
    try:
        read_waveform(path, RATE, start=50, end=51)
        piece = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        size = read_waveform(path, RATE).samples.nbytes
        whole = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert piece < 6e6
    assert whole < 6e6 + 1.25 * size


def test_memory_that_runs_out_is_the_clips_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: object, samples: np.ndarray) -> None:
        raise MemoryError

    path = write_sound(tmp_path / "voice.wav", noise())
    monkeypatch.setattr(audio._Track, "add", add)
    with pytest.raises(LimitExceededError, match=r"^voice\.wav: the sound does not fit into memory"):
        read_waveform(path, RATE)


# The package would import torch, which alone maps more than the limit.
READ_WITHIN_A_GIGABYTE = """
import json, resource, sys, types
from pathlib import Path
package = sys.modules["extractors"] = types.ModuleType("extractors")
package.__path__ = ["extractors"]
from extractors.audio import read_waveform
from extractors.contract import ClipError
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
ends = {}
for path in map(Path, sys.argv[1:]):
    try:
        ends[path.name] = len(read_waveform(path, 16000).samples)
    except ClipError as error:
        ends[path.name] = type(error).__name__
print(json.dumps(ends))
"""


def zeros(path: Path, hours: float, rate: int) -> Path:
    """Write hours of silence."""
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for _ in range(round(hours * 60)):
            file.write(np.zeros(60 * rate, np.int16))
    return path


def test_no_file_takes_more_memory_than_its_sound(tmp_path: Path) -> None:
    voice = noise()
    long = zeros(tmp_path / "days.flac", 7, 1000)
    assert long.stat().st_size * 1000 < 7 * 3600 * 16000 * 2
    rf64 = write_sound(tmp_path / "c.wav", voice, format="RF64")
    ends = {
        long: "LimitExceededError",  # 1.4 GB at 16 kHz before the sixth hour is over
        zeros(tmp_path / "hour.flac", 1, 16000): 3600 * RATE,
        set_flac_length(write_sound(tmp_path / "endless.flac", voice), (1 << 36) - 1): "DecodeError",
        set_flac_length(write_sound(tmp_path / "unsaid.flac", voice), 0): RATE,
        patch(write_sound(tmp_path / "a.wav", voice), b"data", "<I", 0xF0000000): "DecodeError",
        patch(write_sound(tmp_path / "b.wav", voice), b"data", "<I", 0xFFFFFFFE): RATE,
        patch(rf64, b"ds64", "<12xQ", 1 << 40): "DecodeError",
        patch(write_sound(tmp_path / "a.aiff", voice), b"SSND", ">I", 0xF0000000): "DecodeError",
        patch(write_sound(tmp_path / "a.caf", voice), b"data", ">q", 1 << 40): "DecodeError",
        patch(write_sound(tmp_path / "a.w64", voice), b"data\xf3", "<11xq", 1 << 40): "DecodeError",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", READ_WITHIN_A_GIGABYTE, *map(str, ends)],
        cwd=Path(__file__).parents[2], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {path.name: end for path, end in ends.items()}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "start", "seconds"),
    [
        ("edge_videos/face_noface.mov", 2.43, 3.97),  # 2.4 s later and shorter than the picture
        ("edge_videos/noface_face.mov", 0.0, 3.97),
        ("edge_videos/single_face.mp4", 0.0, 2.42),
        ("edge_videos/WolfgangLanger_Pexels.mp4", 0.0, 19.69),
        ("grid_av/GRID/bbaf2n.mpg", 0.0, 2.98),
        ("ravdess_speech_16k/Actor_01/03-01-01-01-01-01-01.flac", 0.0, 3.3),
    ],
)
def test_real_sound_has_its_length_and_place(
    real_data: Path, name: str, start: float, seconds: float
) -> None:
    sound = read_waveform(real_data / name, RATE)
    assert sound.start == pytest.approx(start, abs=0.01)
    assert len(sound.samples) / RATE == pytest.approx(seconds, abs=0.03)
    assert np.abs(sound.samples).max() <= 1.1
