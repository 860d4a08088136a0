"""Reading a clip's media as extractors do: decoded once, whoever else wants it too."""

from collections.abc import Iterator

from extractors.audio import Waveform, read_waveform, read_waveforms
from extractors.contract import Clip
from extractors.video import Frame, Resize, decode, sample_frames


def sound_of(clip: Clip, rate: int) -> Waveform:
    """Return the sound of a clip as one channel.

    Args:
        clip: The clip.
        rate: Hz.

    Raises:
        ClipError: See `read_waveform`.
    """
    path, shared = clip.need_sound(), clip.shared
    if shared is None:
        return read_waveform(path, rate, start=clip.start, end=clip.end)
    rates = shared.rates | {rate}
    tape = None if clip.start is None and clip.end is None else shared.tape
    sounds = shared.once(
        ("sound", path, rates),
        lambda: read_waveforms(path, rates, start=clip.start, end=clip.end, tape=tape),
    )
    return sounds[rate]


def frames_of(clip: Clip, step: float, resize: Resize | None = None) -> Iterator[Frame]:
    """Yield the frames of a clip on a time grid.

    Args:
        clip: The clip.
        step: Seconds between two frames.
        resize: How pictures are resized; None keeps the size.

    Raises:
        ClipError: See `sample_frames`.
    """
    path, shared = clip.need_video(), clip.shared
    frames = None
    if shared is not None:
        frames = shared.stream(("frames", path), lambda: decode(path, clip.start))
    return sample_frames(path, step, resize=resize, start=clip.start, end=clip.end, frames=frames)
