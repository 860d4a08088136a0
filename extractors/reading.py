"""Reading a clip's media as extractors do: decoded once, whoever else wants it too, and audited."""

from collections.abc import Iterator

from extractors.audio import Waveform, read_waveform, read_waveforms
from extractors.contract import Clip
from extractors.video import Decoded, Frame, Resize, Shown, decode, sample_frames, shown_frames


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
        sound = read_waveform(path, rate, start=clip.start, end=clip.end)
    else:
        rates = shared.rates | {rate}
        tape = None if clip.start is None and clip.end is None else shared.tape
        sounds = shared.once(
            ("sound", path, rates),
            lambda: read_waveforms(path, rates, start=clip.start, end=clip.end, tape=tape),
        )
        sound = sounds[rate]
    if clip.audit is not None:
        clip.audit.listen(sound.heard)
    return sound


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
    frames = (
        decode(path, clip.start)
        if shared is None
        else shared.stream(("frames", path), lambda: decode(path, clip.start))
    )
    return sample_frames(
        path, step, resize=resize, start=clip.start, end=clip.end, frames=_noted(clip, frames)
    )


def shown_of(clip: Clip, step: float) -> Iterator[Shown]:
    """Yield the frames of a clip on a time grid, their pictures not made yet, decoded for this reader alone.

    Args:
        clip: The clip.
        step: Seconds between two frames.

    Raises:
        ClipError: See `shown_frames`.
    """
    path = clip.need_video()
    frames = _noted(clip, decode(path, clip.start))
    return shown_frames(path, step, start=clip.start, end=clip.end, frames=frames)


def _noted(clip: Clip, frames: Iterator[Decoded]) -> Iterator[Decoded]:
    return frames if clip.audit is None else clip.audit.watch(frames, from_the_start=not clip.start)
