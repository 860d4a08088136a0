"""Following faces from frame to frame, and deciding whose face a clip is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from extractors.faces.detector import Detection

_OVERLAP = 0.3  # of two boxes that are of one face


@dataclass
class Track:
    """One face over some time.

    Attributes:
        weight: The area of its boxes, each times its confidence, summed up.
        frames: The numbers of the frames that it is in.
        first: Where it was first.
        last: Where it was last.
        seen: When that was, in seconds.
    """

    weight: float = 0.0
    frames: set[int] = field(default_factory=set)
    first: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    last: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    seen: float = 0.0


class Tracker:
    """Joins the faces of frame after frame to tracks: the same face overlaps with where it was.

    A track ends when its face was lost for too long. No place is made up for frames without the face.

    Args:
        gap: Seconds that a face may be lost.
    """

    def __init__(self, gap: float) -> None:
        self.gap = gap
        self.tracks: list[Track] = []

    def add(self, frame: int, time: float, faces: Sequence[Detection]) -> list[int]:
        """Take the faces of the next frame; return the number of the track of each.

        Args:
            frame: Its number.
            time: When it is shown, in seconds.
            faces: What was found in it.
        """
        open_tracks = [i for i, t in enumerate(self.tracks) if time - t.seen <= self.gap]
        pairs = sorted(
            (
                (overlap(self.tracks[i].last, face.box), i, f)
                for i in open_tracks
                for f, face in enumerate(faces)
            ),
            key=lambda pair: (-pair[0], pair[1:]),
        )
        found: dict[int, int] = {}
        for share, i, f in pairs:
            if share >= _OVERLAP and f not in found and i not in found.values():
                found[f] = i
        for f, face in enumerate(faces):
            if f not in found:
                self.tracks.append(Track())
                found[f] = len(self.tracks) - 1
            track = self.tracks[found[f]]
            track.weight += face.area * face.confidence
            track.first = track.first if track.frames else face.box
            track.frames.add(frame)
            track.last, track.seen = face.box, time
        return [found[f] for f in range(len(faces))]

    def subject(self) -> list[int]:
        """Return the tracks that show the clip's subject, from the weightiest on.

        The weightiest track does. Another one may be the same face, found again. It is somebody else if it
        was ever seen beside a track that shows the subject, or if it goes on where somebody else was rather
        than where the subject was.
        """
        chosen: list[int] = []
        others: list[int] = []
        for i in sorted(range(len(self.tracks)), key=lambda i: (-self.tracks[i].weight, i)):
            if self._beside(i, chosen) or self._goes_on(i, others) > max(_OVERLAP, self._goes_on(i, chosen)):
                continue
            chosen.append(i)
            others = [k for k in range(len(self.tracks)) if k not in chosen and self._beside(k, chosen)]
        return chosen

    def _beside(self, one: int, tracks: Sequence[int]) -> bool:
        return any(self.tracks[one].frames & self.tracks[k].frames for k in tracks)

    def _goes_on(self, one: int, tracks: Sequence[int]) -> float:
        """Return how well a track begins where one of some tracks ended, or ends where it began."""
        own = self.tracks[one]
        ends = (
            pair
            for k in tracks
            for pair in ((self.tracks[k].last, own.first), (own.last, self.tracks[k].first))
        )
        return max((overlap(*pair) for pair in ends), default=0.0)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the intersection of two boxes over their union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0.0)))
    whole = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / whole if whole > 0 else 0.0
