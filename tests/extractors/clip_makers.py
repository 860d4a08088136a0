"""Small real media files for the tests: every video frame carries its own number, readable after H.264."""

import ctypes
import os
import socket
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

MILLISECOND = Fraction(1, 1000)


def paint(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """Return a grey picture whose eight horizontal bands are the bits of `number`."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for bit in range(8):
        if number >> bit & 1:
            image[bit * height // 8 : (bit + 1) * height // 8] = 255
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """Return the number that `paint` drew, from a picture of any size."""
    height = len(image)
    bands = [image[bit * height // 8 : (bit + 1) * height // 8].mean() > 127 for bit in range(8)]
    return sum(1 << bit for bit, white in enumerate(bands) if white)


def shown(times: Sequence[float], at: float) -> int:
    """Return which frame a player shows at a time: the last that has begun, or the first."""
    return max(0, bisect_right(times, at + 1e-6) - 1)


def tone(seconds: float, rate: int, hz: float = 440.0, level: float = 0.25) -> NDArray[np.float32]:
    """Return a sine of `seconds` at `rate`, `[N]` float32."""
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_clip(
    path: Path,
    frames: Sequence[NDArray[np.uint8]] | int = 0,
    *,
    fps: int = 25,
    times: Sequence[float] | None = None,
    shift: float = 0.0,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int = 12,
    options: dict[str, str] | None = None,
    sound: Sequence[tuple[float, NDArray[np.float32]]] = (),
    sound_codec: str = "aac",
    rate: int = 16000,
    container_options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write a clip.

    Args:
        path: Where; its suffix decides the container.
        frames: The pictures, or how many numbered ones.
        fps: Frames per second, where `times` are not given.
        times: Seconds of each frame, in whole milliseconds.
        shift: Seconds added to every frame's time.
        codec: FFmpeg's name of the video encoder.
        pixels: Its pixel format.
        gop: Frames from one key frame to the next.
        options: Of the video encoder.
        sound: Pieces of one channel, each with the second at which it begins.
        sound_codec: FFmpeg's name of the sound encoder.
        rate: Of the sound, in Hz.
        container_options: Of the muxer.
        title: A metadata entry.
    """
    pictures = [paint(i) for i in range(frames)] if isinstance(frames, int) else list(frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        if title:
            container.metadata["title"] = title
        # All streams must exist before the first packet is written.
        video = container.add_stream(codec, rate=fps, options=options or {}) if pictures else None
        audio = container.add_stream(sound_codec, rate=rate, layout="mono") if sound else None
        if video is not None:
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = pixels
            video.codec_context.gop_size = gop
            base = Fraction(1, fps) if times is None else MILLISECOND
            video.codec_context.time_base = base
            for i, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                at = i / fps if times is None else times[i]
                frame.pts, frame.time_base = round((at + shift) / base), base
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None:
            for begin, samples in sound:
                for first in range(0, len(samples), 1024):
                    piece = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], "fltp", "mono")
                    piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
                    piece.pts = round(begin * rate) + first
                    container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])
    return path


def patch(path: Path, mark: bytes, layout: str, number: int) -> Path:
    """Overwrite a number that follows a mark in a file; `layout` is for struct, padding included."""
    content = bytearray(path.read_bytes())
    begin = content.index(mark) + len(mark)
    skipped = struct.calcsize(layout) - struct.calcsize(layout[0] + layout[-1])
    struct.pack_into(layout[0] + layout[-1], content, begin + skipped, number)
    path.write_bytes(content)
    return path


def set_flac_length(path: Path, samples: int) -> Path:
    """Overwrite the 36 bits in which a FLAC states its samples; 0 is "unknown" (RFC 9639, section 8.2)."""
    content = bytearray(path.read_bytes())
    field = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    content[18:26] = field.to_bytes(8, "big")
    path.write_bytes(content)
    return path


def rotate_mp4(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix (a, b, c, d) into the track header of an MP4 file."""
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    # After the type: version and flags 4, times 8, id 4, reserved 4, duration 4, reserved 8, layer to
    # volume 8 bytes.
    begin = content.index(b"tkhd") + 4 + 40
    content[begin : begin + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@contextmanager
def openings(path: Path) -> Iterator[list[int]]:
    """Count how often a file is opened by anybody, FFmpeg included (Linux inotify).

    The list is filled when the block ends.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    watcher = libc.inotify_init1(os.O_NONBLOCK)
    if watcher < 0 or libc.inotify_add_watch(watcher, os.fsencode(path), 0x20) < 0:  # IN_OPEN
        raise OSError(ctypes.get_errno(), "inotify")
    seen: list[int] = []
    try:
        yield seen
        try:
            seen.append(len(os.read(watcher, 4096)) // 16)  # one event of a watched file has 16 bytes
        except BlockingIOError:
            seen.append(0)
    finally:
        os.close(watcher)


@contextmanager
def listening() -> Iterator[tuple[int, list[Any]]]:
    """Listen on a local port; yield the port and the list of callers."""
    callers: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    caller, address = server.accept()
                except OSError:
                    return
                callers.append(address)
                caller.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], callers
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)
