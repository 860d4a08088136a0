"""Media that lack something, through every extractor that reads media: a typed refusal, or rows that say so.

The numbers are those of the fault suite: 12 no media, 14 a stream or most of it is missing, 18 silence.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from clip_makers import cut, paint, tone, write_clip
from network_makers import tiny_wav2vec2

from extractors.clip_networks import SlowFast8x8R50
from extractors.contract import (
    Clip,
    ClipError,
    DecodeError,
    Extractor,
    Features,
    MissingMediaError,
    TooShortError,
    Window,
    WindowExtractor,
    check_features,
)
from extractors.logmel import LogMel
from extractors.mfcc import Mfcc
from extractors.opensmile import OpenSmile
from extractors.wav2vec2 import Wav2Vec2

RATE = 16000
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0"
    "000003010100c9fe92ef0000000049454e44ae426082"
)
SOUND = ("logmel", "mfcc", "opensmile", "wav2vec2")
NAMES = (*SOUND, "slowfast")


@pytest.fixture(scope="module")
def extractors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Extractor]:
    folder = tiny_wav2vec2(tmp_path_factory.mktemp("net") / "wav2vec2", "layer")
    return {
        "logmel": LogMel(),
        "mfcc": Mfcc(),
        "opensmile": OpenSmile(),
        "wav2vec2": Wav2Vec2(str(folder), chunk=1.0),
        "slowfast": SlowFast8x8R50("random", short_side=64, crop=32),
    }


def film(path: Path, seconds: float = 1.0) -> Path:
    return write_clip(path, round(25 * seconds), sound=[(0, tone(seconds, RATE))])


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("These are my notes.\n" * 50)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def picture(path: Path) -> None:
    path.write_bytes(PNG)


def half(path: Path) -> None:
    """Half of a file whose index comes first."""
    pictures = list(np.random.default_rng(0).integers(0, 255, (75, 64, 96, 3), dtype=np.uint8))
    sound = [(0.0, np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE).astype(np.float32))]
    cut(write_clip(path, pictures, sound=sound, container_options={"movflags": "faststart"}), 0.5)


def without_index(path: Path) -> None:
    cut(film(path), 0.9)


def head_only(path: Path) -> None:
    path.write_bytes(film(path).read_bytes()[:32])


@pytest.mark.parametrize("make", [nothing, text, noise, picture, half, without_index, head_only])
@pytest.mark.parametrize("name", NAMES)
def test_12_what_is_no_whole_video_is_a_decode_error(
    extractors: dict[str, Extractor], tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(DecodeError, match=r"^clip\.mp4: "):
        extractors[name].extract(Clip("a", video=path))


@pytest.mark.parametrize("name", SOUND)
def test_14_a_film_without_sound_lacks_a_medium(
    extractors: dict[str, Extractor], tmp_path: Path, name: str
) -> None:
    path = write_clip(tmp_path / "dumb.mp4", 25)
    with pytest.raises(MissingMediaError, match=r"^dumb\.mp4: no sound stream$"):
        extractors[name].extract(Clip("a", video=path))


def test_14_a_film_without_pictures_lacks_a_medium(extractors: dict[str, Extractor], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "blind.mp4", sound=[(0, tone(1, RATE))])
    with pytest.raises(MissingMediaError, match=r"^blind\.mp4: no video stream$"):
        extractors["slowfast"].extract(Clip("a", video=path))


def one_empty_stream(path: Path, empty: str) -> Path:
    """Write a film whose header promises two streams, one of which never comes."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
        voice = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        container.start_encoding()
        if empty != "pictures":
            for i in range(25):
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(paint(i), "rgb24")))
            container.mux(pictures.encode(None))
        if empty != "sound":
            samples = (tone(1, RATE) * 2**15).astype(np.int16)[None]
            piece = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            piece.sample_rate = RATE
            container.mux(voice.encode(piece))
            container.mux(voice.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mkv", "avi", "mov"])
def test_14_a_stream_of_pictures_without_frames_is_a_clip_error(
    extractors: dict[str, Extractor], tmp_path: Path, suffix: str
) -> None:
    """MOV does not even list a stream without samples."""
    path = one_empty_stream(tmp_path / f"none.{suffix}", "pictures")
    with pytest.raises(ClipError, match=rf"^none\.{suffix}: no (frame could be decoded|video stream)$"):
        extractors["slowfast"].extract(Clip("a", video=path))
    LogMel().extract(Clip("a", video=path))


@pytest.mark.parametrize("suffix", ["mkv", "avi", "mov"])
@pytest.mark.parametrize("name", SOUND)
def test_14_a_stream_of_sound_without_samples_is_a_clip_error(
    extractors: dict[str, Extractor], tmp_path: Path, name: str, suffix: str
) -> None:
    path = one_empty_stream(tmp_path / f"none.{suffix}", "sound")
    with pytest.raises(ClipError, match=rf"^none\.{suffix}: no sound (could be decoded|stream)$"):
        extractors[name].extract(Clip("a", video=path))


@pytest.mark.parametrize(("frames", "valid"), [(1, False), (20, False), (27, True), (60, True)])
def test_14_a_clip_shorter_than_a_window_is_one_row_that_says_how_real_it_is(
    extractors: dict[str, Extractor], tmp_path: Path, frames: int, valid: bool
) -> None:
    """Of 25 pictures a second; a window lasts 2.13 s, and half of it must be real."""
    found = extractors["slowfast"].extract(Clip("a", video=write_clip(tmp_path / "a.mp4", frames)))
    check_features(found, 2304)
    assert found.valid.tolist() == [valid] * len(found.valid)
    assert len(found.valid) == 1


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("samples", [1, 100, 399])
@pytest.mark.filterwarnings("ignore:Segment too short")
def test_14_sound_shorter_than_a_window_is_too_short(
    extractors: dict[str, Extractor], tmp_path: Path, name: str, samples: int
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1, RATE)[:samples], RATE)
    with pytest.raises(TooShortError, match=r"samples|too short"):
        extractors[name].extract(Clip("a", audio=tmp_path / "a.wav"))


def sound_of(kind: str) -> np.ndarray:
    samples = tone(3, RATE)
    if kind == "silent":
        return np.zeros_like(samples)
    if kind == "in part":
        samples[:-RATE] = 0  # whole chunks of a second, too
    if kind == "one click":
        samples[:] = 0
        samples[20_000] = 2.0**-15
    return samples


KINDS = [("silent", True), ("in part", False), ("one click", False), ("sounding", False)]


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize(("kind", "silent"), KINDS)
@pytest.mark.parametrize("suffix", ["wav", "mkv"])
def test_18_digital_silence_is_said_of_the_features(
    extractors: dict[str, Extractor], tmp_path: Path, name: str, kind: str, silent: bool, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "wav":
        soundfile.write(path, sound_of(kind), RATE, subtype="PCM_16")
    else:
        write_clip(path, 75, sound=[(0, sound_of(kind))], sound_codec="flac")
    found = extractors[name].extract(Clip("a", video=path))
    assert found.silent is silent
    assert found.valid.all()
    check_features(found, extractors[name].dim)


@pytest.mark.parametrize(("kind", "silent"), KINDS)
def test_18_every_window_knows_of_its_whole_clip(
    extractors: dict[str, Extractor], tmp_path: Path, kind: str, silent: bool
) -> None:
    soundfile.write(tmp_path / "a.wav", sound_of(kind), RATE, subtype="PCM_16")
    extractor: Any = extractors["wav2vec2"]
    windows = list(extractor.windows(Clip("a", audio=tmp_path / "a.wav")))
    assert [w.silent for w in windows] == [silent] * 3
    assert [w.emptied().silent for w in windows] == [silent] * 3


@pytest.mark.parametrize("flags", [[True], [True, True], [True, False], [False, True], [False]])
def test_18_features_are_silent_if_all_their_windows_are(
    extractors: dict[str, Extractor], flags: list[bool]
) -> None:
    extractor = extractors["wav2vec2"]
    assert isinstance(extractor, WindowExtractor)
    rows = np.zeros((1, 16), np.float32)
    parts = [(Window(np.empty(0), i, i + 1.0, silent=flag), rows) for i, flag in enumerate(flags)]
    assert extractor.assemble(parts).silent is all(flags)


def test_18_a_dark_film_is_not_called_silent(extractors: dict[str, Extractor], tmp_path: Path) -> None:
    black = [np.zeros((64, 96, 3), np.uint8)] * 25
    found: Features = extractors["slowfast"].extract(Clip("a", video=write_clip(tmp_path / "a.mp4", black)))
    assert not found.silent
