"""What the headers of sound files promise; decoders correct it silently where a file was cut short."""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from extractors.contract import DecodeError

_LONGEST_PAGE = 65307  # bytes; RFC 3533, section 6
_LAST_PAGE = 0x04  # RFC 3533, section 6: this page ends its stream

# A writer that cannot go back leaves one of these sizes, less what rounding to a block takes off.
_STREAMED = (
    0xFFFFFFFF,  # FFmpeg, riffenc.c and wavenc.c
    0x7FFFF000,  # SoX, wav.c: MS_UNSPEC
    0x7F000008,  # SoX, aiff.c: 0x7f000000 bytes of samples after the 8 bytes of SSND
)
_BLOCK = 0x10000  # bytes; block sizes are 16-bit numbers
_ENDLESS = 1 << 62  # bytes; FFmpeg, wavenc.c, leaves 2**63 - 1 in Wave64


@dataclass(frozen=True)
class _Promise:
    """The chunk that holds the sound.

    Attributes:
        size: Bytes of sound that the header promises.
        present: Bytes of it that are in the file.
        frames: Samples per channel that the header promises; 0 if it does not say.
    """

    size: int
    present: int
    frames: float


def refuse_cut_sound(path: Path, held: int, rate: int) -> None:
    """Refuse a sound file that holds less than its own header promises.

    RIFF, RF64, AIFF, Wave64 and CAF promise bytes; the last page of an Ogg file says that it is the last.
    Any other file is accepted, and so is one that promises nothing, as one written to a pipe.

    Args:
        path: The file.
        held: Samples per channel that were decoded.
        rate: Their rate, in Hz.

    Raises:
        DecodeError: If the end of the sound is missing.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic == b"OggS":
            return _refuse_cut_ogg(path, file)
        promise = _READERS[magic](file) if magic in _READERS else None
    if promise is None or promise.present >= promise.size or _streamed(promise.size):
        return None
    decoded = held / rate
    # Compressed sound may state no frames, or packets instead; its bytes still say how much is missing.
    stated = max(promise.frames / rate, decoded * promise.size / max(promise.present, 1))
    raise DecodeError(f"{path.name}: sound stops after {decoded:.2f} s of {stated:.2f} s")


def _streamed(size: int) -> bool:
    """Whether a size in bytes stands for "not known when this was written"."""
    return size >= _ENDLESS or any(mark - _BLOCK < size <= mark for mark in _STREAMED)


def _chunks(file: BinaryIO, layout: str, *, align: int = 1, counted: int = 0) -> Iterator[tuple[bytes, int]]:
    """Yield name and size of each chunk, with the file at its content; stop at one that leaves the file.

    Args:
        file: At the first chunk.
        layout: Of a chunk's name and size, for struct.
        align: Chunks begin at multiples of so many bytes.
        counted: Bytes of the chunk's own header that its size counts.
    """
    end = _length(file)
    while len(header := file.read(struct.calcsize(layout))) == struct.calcsize(layout):
        name, size = struct.unpack(layout, header)
        size -= counted
        begin = file.tell()
        yield name, size
        if not 0 <= size <= end - begin:
            return
        file.seek(begin + size + -size % align)


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _numbers(file: BinaryIO, layout: str) -> tuple[float, ...]:
    """Read numbers; zeros where the file ends before them."""
    content = file.read(struct.calcsize(layout))
    return struct.unpack(layout, content.ljust(struct.calcsize(layout), b"\0"))


def _riff(file: BinaryIO) -> _Promise | None:
    """Read RIFF and its 64-bit form (EBU Tech 3306: ds64 holds the size of data)."""
    return _wave(file, "<") if file.read(8)[4:] == b"WAVE" else None


def _rifx(file: BinaryIO) -> _Promise | None:
    """Read RIFF of the other byte order."""
    return _wave(file, ">") if file.read(8)[4:] == b"WAVE" else None


def _wave64(file: BinaryIO) -> _Promise | None:
    """Read Sony Wave64: RIFF with 16-byte names, whose first four are RIFF's, and 64-bit sizes."""
    file.seek(40)
    return _wave(file, "<", "4s12xq", align=8, counted=24)


def _wave(
    file: BinaryIO, order: str, layout: str = "4sI", *, align: int = 2, counted: int = 0
) -> _Promise | None:
    rate = bytes_per_second = long_size = 0.0
    for name, size in _chunks(file, order + layout, align=align, counted=counted):
        if name == b"ds64":
            long_size = _numbers(file, "<8xQ")[0]
        elif name == b"fmt ":
            rate, bytes_per_second = _numbers(file, order + "4xII")
        elif name == b"data":
            size = int(long_size) if long_size and size == 0xFFFFFFFF else size
            present = _length(file) - file.tell()
            return _Promise(size, present, size / bytes_per_second * rate if bytes_per_second else 0)
    return None


def _aiff(file: BinaryIO) -> _Promise | None:
    """Read AIFF and AIFF-C: COMM states the frames, SSND begins with 8 bytes that are no sound."""
    if file.read(8)[4:] not in (b"AIFF", b"AIFC"):
        return None
    frames = 0.0
    for name, size in _chunks(file, ">4sI", align=2):
        if name == b"COMM":
            frames = _numbers(file, ">2xI")[0]
        elif name == b"SSND":
            return _Promise(size, _length(file) - file.tell(), frames)
    return None


def _caf(file: BinaryIO) -> _Promise | None:
    """Read Apple's Core Audio Format: desc describes packets; a data size of -1 is not known."""
    file.seek(8)
    frames_per_byte = 0.0
    for name, size in _chunks(file, ">4sq"):
        if name == b"desc":
            bytes_per_packet, frames_per_packet = _numbers(file, ">16xII")
            frames_per_byte = frames_per_packet / bytes_per_packet if bytes_per_packet else 0
        elif name == b"data":
            return _Promise(size, _length(file) - file.tell(), (size - 4) * frames_per_byte)
    return None


def _refuse_cut_ogg(path: Path, file: BinaryIO) -> None:
    """Refuse an Ogg file that does not end with a whole page that says it is the last of its stream."""
    file.seek(max(0, _length(file) - _LONGEST_PAGE))
    tail = file.read()
    page = tail[tail.rfind(b"OggS\0") :]  # one byte, where there is none
    segments = page[26] if len(page) > 26 else 0
    size = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < size or not page[5] & _LAST_PAGE:
        raise DecodeError(f"{path.name}: the sound is cut short (no last page)")


_READERS: dict[bytes, Callable[[BinaryIO], _Promise | None]] = {
    b"RIFF": _riff,
    b"RF64": _riff,
    b"BW64": _riff,
    b"RIFX": _rifx,
    b"riff": _wave64,
    b"FORM": _aiff,
    b"caff": _caf,
}
