"""What the headers of sound files promise, and what writers leave that could not go back."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from clip_makers import cut, patch, tone, write_clip

from extractors.audio import read_waveform
from extractors.contract import ClipError, DecodeError
from extractors.sound_headers import refuse_cut_sound

RATE = 16000
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav": ("a.wav", {}),
    "extensible wav": ("a.wav", {"format": "WAVEX"}),
    "big-endian wav": ("a.wav", {"endian": "BIG"}),
    "rf64": ("a.wav", {"format": "RF64"}),
    "aiff": ("a.aiff", {}),
    "aiff of 24 bits": ("a.aif", {"format": "AIFF", "subtype": "PCM_24"}),
    "aiff-c": ("a.aifc", {"format": "AIFF", "subtype": "ULAW"}),
    "wave64": ("a.w64", {}),
    "caf": ("a.caf", {}),
    "caf of floats": ("a.caf", {"subtype": "FLOAT"}),
}


def write(folder: Path, kind: str, seconds: float = 1.0, channels: int = 1) -> Path:
    name, options = FORMATS[kind]
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * RATE), channels))
    soundfile.write(folder / name, samples, RATE, **options)
    return folder / name


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_whole_file_keeps_its_promise(tmp_path: Path, kind: str, channels: int) -> None:
    path = write(tmp_path, kind, 0.99993, channels)  # an odd number of samples
    # FFmpeg takes the padding of an odd AIFF-C chunk for a sample.
    assert 0 <= len(read_waveform(path, RATE).samples) - 15999 <= (kind == "aiff-c")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_half_a_file_says_how_much_is_missing(tmp_path: Path, kind: str, channels: int) -> None:
    path = cut(write(tmp_path, kind, 2, channels), 0.5)
    with pytest.raises(DecodeError, match=r"^a\.\w+: sound stops after (0\.9\d|1\.00) s of 2\.00 s$"):
        read_waveform(path, RATE)


@pytest.mark.parametrize("kind", FORMATS)
def test_one_missing_byte_is_noticed(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DecodeError, match=r"stops after 1\.00 s of 1\.00 s"):
        read_waveform(path, RATE)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_cut_passes(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, 0.05)
    content = path.read_bytes()
    for size in [*range(1, 160), *range(160, len(content), 97)]:
        path.write_bytes(content[:size])
        with pytest.raises(ClipError, match=r"^a\.\w+: "):
            read_waveform(path, RATE)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_header_without_its_sound_is_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    mark = b"SSND" if "aiff" in kind else b"data"
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(mark, 0, 4200) + 24])
    with pytest.raises(DecodeError):
        read_waveform(path, RATE)


@pytest.mark.parametrize(
    ("kind", "mark", "layout", "size"),
    [
        ("wav", b"data", "<I", 0),
        ("wav", b"data", "<I", 0xFFFFFFFF),
        ("wav", b"data", "<I", 0xFFFFFFFF - 44),
        ("wav", b"data", "<I", 0x7FFFF000),
        ("wav", b"data", "<I", 0x7FFFF000 - 0x7FFFF000 % 1020),
        ("big-endian wav", b"data", ">I", 0xFFFFFFFF),
        ("rf64", b"ds64", "<12xQ", 0),
        ("rf64", b"ds64", "<12xQ", (1 << 64) - 1),
        ("aiff", b"SSND", ">I", 0),
        ("aiff", b"SSND", ">I", 0xFFFFFFFF),
        ("aiff", b"SSND", ">I", 0x7F000008),
        ("wave64", b"data\xf3", "<11xq", 24),
        ("wave64", b"data\xf3", "<11xq", (1 << 63) - 1),
        ("caf", b"data", ">q", -1),
    ],
)
def test_a_size_that_was_not_known_promises_nothing(
    tmp_path: Path, kind: str, mark: bytes, layout: str, size: int
) -> None:
    path = write(tmp_path, kind)
    refuse_cut_sound(patch(path, mark, layout, size), RATE, RATE)


@pytest.mark.parametrize(
    ("kind", "mark", "layout", "size"),
    [
        ("wav", b"data", "<I", 0xFFFFFFFF),
        ("wav", b"data", "<I", 0x7FFFF000),
        ("aiff", b"SSND", ">I", 0x7F000008),
        ("caf", b"data", ">q", -1),
    ],
)
def test_what_was_written_to_a_pipe_is_read_whole(
    tmp_path: Path, kind: str, mark: bytes, layout: str, size: int
) -> None:
    assert len(read_waveform(patch(write(tmp_path, kind), mark, layout, size), RATE).samples) == RATE


@pytest.mark.parametrize("size", [0x70000000, 0x7FFFF001, 0xE0000000])
def test_a_size_that_is_only_large_is_a_promise(tmp_path: Path, size: int) -> None:
    with pytest.raises(DecodeError, match=r"stops after 1\.00 s of"):
        refuse_cut_sound(patch(write(tmp_path, "wav"), b"data", "<I", size), RATE, RATE)


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF",
        b"RIFF\0\0\0\0AVI data\xff\0\0\0" + bytes(40),
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0",
        b"RIFF\0\0\0\0WAVEnote\xff\xff\xff\xff",
        b"FORM\0\0\0\x048SVXSSND\0\0\0\xff" + bytes(40),
        b"FORM\0\0\0\x04AIFFCOMM\0\0\0\x02\0\1",
        b"caff\0\1\0\0junk" + struct.pack(">q", -12),  # back to its own beginning
        b"caff\0\1\0\0junk" + struct.pack(">q", (1 << 63) - 1),
        b"riff" + bytes(36) + b"junk" + bytes(12) + struct.pack("<q", 3),
        b"fLaC" + bytes(40),
        b"",
    ],
)
def test_a_header_without_a_chunk_of_sound_promises_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    refuse_cut_sound(tmp_path / "a.wav", 0, RATE)


def test_frames_that_are_not_stated_are_told_from_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.caf"
    soundfile.write(path, tone(2, RATE), RATE, subtype="ALAC_16")  # packets of no fixed size
    with pytest.raises(DecodeError, match=r"stops after 1\.00 s of 1\.2\d s"):
        refuse_cut_sound(cut(path, 0.8), RATE, RATE)


@pytest.fixture(params=[("a.ogg", "VORBIS"), ("a.ogg", "OPUS"), ("a.oga", "VORBIS"), ("a.opus", "OPUS")])
def ogg(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, subtype = request.param
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(tmp_path / name, noise, RATE, format="OGG", subtype=subtype)
    return tmp_path / name


def test_an_ogg_that_stops_anywhere_is_refused(ogg: Path) -> None:
    content = ogg.read_bytes()
    assert len(read_waveform(ogg, RATE).samples) == pytest.approx(4 * RATE, abs=400)
    pages = [at for at in range(len(content)) if content.startswith(b"OggS\0", at)]
    for size in [*pages[1:], *(page + 20 for page in pages), pages[-1] + 27, len(content) - 1]:
        ogg.write_bytes(content[:size])
        with pytest.raises(DecodeError):
            read_waveform(ogg, RATE)
    ogg.write_bytes(content[: pages[-1]])
    with pytest.raises(DecodeError, match=rf"^{ogg.name}: the sound is cut short \(no last page\)$"):
        read_waveform(ogg, RATE)


def test_a_tag_after_the_last_page_of_an_ogg_is_no_cut(ogg: Path) -> None:
    ogg.write_bytes(ogg.read_bytes() + b"TAG" + bytes(125))
    refuse_cut_sound(ogg, RATE, RATE)


def test_an_ogg_by_ffmpeg_is_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.oga", sound=[(0, tone(2, RATE))], sound_codec="flac")
    assert len(read_waveform(path, RATE).samples) == 2 * RATE


@pytest.mark.parametrize("suffix", ["wav", "aiff", "w64", "caf", "rf64.wav"])
def test_what_ffmpeg_writes_keeps_its_promise(tmp_path: Path, suffix: str) -> None:
    codec = "pcm_s16be" if suffix == "aiff" else "pcm_s16le"
    options = {"rf64": "always"} if suffix == "rf64.wav" else {}
    path = write_clip(
        tmp_path / f"a.{suffix}", sound=[(0, tone(2, RATE))], sound_codec=codec, container_options=options
    )
    assert len(read_waveform(path, RATE).samples) == 2 * RATE
    with pytest.raises(DecodeError, match=r"of 2\.00 s"):
        read_waveform(cut(path, 0.75), RATE)
