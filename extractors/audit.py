"""What a container says about a clip, against what was decoded of it."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

_SAME_STEP = 0.1  # of the usual step, by which a step may differ
_CLOCK_SECONDS = 0.0011  # by which it may differ anyhow: some containers count in milliseconds
_MOST_ODD_STEPS = 0.1  # of all steps; a constant rate has fewer, whatever frames it lacks
_GAP = 1.5  # usual steps; what is longer lacks a frame


@dataclass(frozen=True)
class Stated:
    """What the header of a file says, without anything decoded.

    Attributes:
        first: The time stamp that playback shows as 0, in seconds.
        frames: How many frames there are; None if it does not say.
        rate: Frames per second; None if it does not say.
        picture: When the picture begins and ends, in seconds from `first`; None if it has none, or does not
            say.
        sound: The same of the sound.
    """

    first: float = 0.0
    frames: int | None = None
    rate: float | None = None
    picture: tuple[float, float] | None = None
    sound: tuple[float, float] | None = None


@dataclass(frozen=True)
class Heard:
    """What was decoded of the sound of a file.

    Attributes:
        stated: What the file says.
        begin: Seconds of the first sample.
        seconds: How much was decoded, gaps included.
        gaps: How much of what was asked for is silence in place of what is missing.
        whole: Whether that is all there is.
    """

    stated: Stated
    begin: float
    seconds: float
    gaps: float
    whole: bool


class Seen(Protocol):
    """A decoded frame, as far as an audit looks at it."""

    @property
    def time(self) -> float:
        """When it is shown, in seconds."""

    @property
    def length(self) -> float:
        """How long, in seconds."""

    @property
    def repeats(self) -> bool:
        """Whether its picture is that of the frame before."""

    @property
    def stated(self) -> Stated:
        """What its file says."""


@dataclass(frozen=True)
class ClipAudit:
    """The audit of a clip for one feature; None is unknown, or of a kind that the feature does not read.

    Attributes:
        container_frames: Frames by the header.
        decoded_frames: Frames that were decoded.
        repeated: How many of them have exactly the picture of the frame before.
        missing: Frames that fit into gaps between the time stamps; None where the rate is variable.
        nominal_rate: Frames per second by the header.
        measured_rate: Frames per second by the usual step between time stamps; where the rate is variable,
            by all steps forward.
        variable_rate: Whether more than a tenth of the steps between time stamps are not the usual one.
        back: How many time stamps lie before that of the frame before them, as where files were joined.
        shortest_step: Forward, between two time stamps, in seconds.
        longest_step: The same.
        picture_seconds: How long the picture lasts, as decoded; by the header where it was not all decoded.
        sound_seconds: The same of the sound.
        stated_picture_seconds: By the header.
        stated_sound_seconds: By the header.
        sound_gaps: Seconds that are missing in the sound of the clip, and were filled with silence.
        start_difference: Seconds from the beginning of the picture to that of the sound of the same file.
        end_difference: Seconds from the end of the picture to that of the sound; negative: it ends before.
        first_time_stamp: Seconds that the file calls the beginning, and that count as 0 here.
        partly: Whether only a part of the file was decoded.
    """

    container_frames: int | None = None
    decoded_frames: int | None = None
    repeated: int | None = None
    missing: int | None = None
    nominal_rate: float | None = None
    measured_rate: float | None = None
    variable_rate: bool | None = None
    back: int | None = None
    shortest_step: float | None = None
    longest_step: float | None = None
    picture_seconds: float | None = None
    sound_seconds: float | None = None
    stated_picture_seconds: float | None = None
    stated_sound_seconds: float | None = None
    sound_gaps: float | None = None
    start_difference: float | None = None
    end_difference: float | None = None
    first_time_stamp: float | None = None
    partly: bool = False


AUDITED = tuple(field.name for field in fields(ClipAudit))
Frame = TypeVar("Frame", bound=Seen)


class Audit:
    """Takes notes while one extractor reads the media of one clip; costs nothing but the notes."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._last_length = 0.0
        self._repeated = 0
        self._stated: Stated | None = None
        self._to_the_end = False
        self._heard: Heard | None = None

    def watch(self, frames: Iterator[Frame], from_the_start: bool) -> Iterator[Frame]:
        """Pass frames on, and note them."""
        while (frame := next(frames, None)) is not None:
            self._stated = frame.stated
            self._times.append(frame.time)
            self._last_length = frame.length
            self._repeated += frame.repeats
            yield frame
            del frame  # before the next one is decoded
        self._to_the_end = from_the_start

    def listen(self, heard: Heard | None) -> None:
        """Note what was heard."""
        self._heard = heard

    def found(self) -> ClipAudit | None:
        """Return what was found; None if nothing was read."""
        stated = self._stated or (self._heard and self._heard.stated)
        if not stated:
            return None
        picture = self._picture() or stated.picture
        sound = self._sound() or stated.sound
        both = picture is not None and sound is not None
        heard, seen = self._heard, self._stated is not None
        steps = _Steps.of(self._times)
        return ClipAudit(
            container_frames=stated.frames if seen else None,
            decoded_frames=len(self._times) if seen else None,
            repeated=self._repeated if seen else None,
            missing=steps.missing if steps else None,
            nominal_rate=_rounded(stated.rate) if seen else None,
            measured_rate=_rounded(steps.rate) if steps else None,
            variable_rate=steps.variable if steps else None,
            back=sum(b < a - _CLOCK_SECONDS for a, b in pairwise(self._times)) if seen else None,
            shortest_step=_rounded(steps.shortest) if steps else None,
            longest_step=_rounded(steps.longest) if steps else None,
            picture_seconds=_length(picture),
            sound_seconds=_length(sound),
            stated_picture_seconds=_length(stated.picture),
            stated_sound_seconds=_length(stated.sound),
            sound_gaps=_rounded(heard.gaps) if heard else None,
            start_difference=_rounded(sound[0] - picture[0]) if both else None,  # type: ignore[index]
            end_difference=_rounded(sound[1] - picture[1]) if both else None,  # type: ignore[index]
            first_time_stamp=_rounded(stated.first),
            partly=(seen and not self._to_the_end) or (heard is not None and not heard.whole),
        )

    def _picture(self) -> tuple[float, float] | None:
        if not self._to_the_end or not self._times:
            return None
        return self._times[0], max(self._times) + self._last_length

    def _sound(self) -> tuple[float, float] | None:
        heard = self._heard
        return (heard.begin, heard.begin + heard.seconds) if heard and heard.whole else None


@dataclass(frozen=True)
class _Steps:
    """The steps forward from one time stamp to the next, in seconds."""

    rate: float
    shortest: float
    longest: float
    variable: bool
    missing: int | None

    @classmethod
    def of(cls, times: list[float]) -> "_Steps | None":
        """Measure them; None if there is no time between two frames."""
        steps = np.diff(times)
        steps = steps[steps >= 0]
        usual = float(np.median(steps)) if len(steps) else 0.0
        if usual <= 0:
            return None
        odd = np.abs(steps - usual) > max(_SAME_STEP * usual, _CLOCK_SECONDS)
        variable = float(odd.mean()) > _MOST_ODD_STEPS
        even = steps if variable else steps[~odd]
        gaps = steps[steps > _GAP * usual]
        missing = None if variable else int(np.rint(gaps / usual - 1).sum())
        rate = float(len(even) / even.sum())
        return cls(rate, float(steps.min()), float(steps.max()), variable, missing)


def _length(span: tuple[float, float] | None) -> float | None:
    return None if span is None else _rounded(span[1] - span[0])


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
