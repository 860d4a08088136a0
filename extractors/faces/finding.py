"""The face of a clip's subject, frame by frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from extractors.contract import Clip, TooShortError
from extractors.faces.crops import cut_out, encode, place_of
from extractors.faces.detector import Detection, Detector, working_side
from extractors.faces.settings import WORKING_FACE, FaceSettings
from extractors.faces.tracks import Tracker
from extractors.reading import shown_of
from extractors.video import Resize, Shown

_BATCH_PIXELS = 16 << 20  # of decoded frames that wait for the detector
_MOST_IN_BATCH = 16
_MOST_FACES = 4  # of one frame that are followed, the largest ones


@dataclass(frozen=True)
class FaceRow:
    """What was found in one frame.

    Attributes:
        time: When it is shown, in seconds on the container's clock.
        faces: How many faces are in it.
        face: That of the clip's subject; None if it is not in the frame.
        track: The number of the track that this face belongs to, from 0 in order of their weight; -1 without.
        picture: The face, cut out, as a JPEG file; b"" without.
    """

    time: float
    faces: int
    face: Detection | None = None
    track: int = -1
    picture: bytes = b""


@dataclass(frozen=True)
class _Seen:
    """A face, whoever's it is."""

    face: Detection
    track: int
    picture: bytes


def find_faces(clip: Clip, detector: Detector, settings: FaceSettings) -> list[FaceRow]:
    """Return a row for every frame of the time grid.

    Nothing is carried from one clip to another, nor into frames without a face.

    Args:
        clip: With a video.
        detector: Finds faces.
        settings: Which frames, which faces, and how they are cut out.

    Raises:
        ClipError: If the video cannot be decoded.
    """
    frames = shown_of(clip, 1 / settings.fps)
    tracker = Tracker(settings.gap)
    times: list[float] = []
    seen: list[list[_Seen]] = []
    counts: list[int] = []
    for batch in _batches(frames):
        clip.still_alive()
        for shown, faces in zip(batch, detect(batch, detector, settings), strict=True):
            followed = faces[:_MOST_FACES]
            numbers = tracker.add(len(times), shown.time, followed)
            times.append(shown.time)
            counts.append(len(faces))
            seen.append(_cut_out(shown, followed, numbers, settings))
    if not times:
        raise TooShortError(f"no frame lies between {clip.start or 0:g} s and {clip.end or 0:g} s")
    order = {track: place for place, track in enumerate(tracker.subject())}
    rows = []
    for time, count, faces_seen in zip(times, counts, seen, strict=True):
        own = next((s for s in faces_seen if s.track in order), None)
        row = (
            FaceRow(time, count)
            if own is None
            else FaceRow(time, count, own.face, order[own.track], own.picture)
        )
        rows.append(row)
    return rows


def _batches(frames: Iterator[Shown]) -> Iterator[list[Shown]]:
    """Yield frames of one size, as many as may wait."""
    first = next(frames, None)
    while first is not None:
        width, height = first.size
        most = max(1, min(_MOST_IN_BATCH, _BATCH_PIXELS // (width * height)))
        batch = [first]
        first = None
        for shown in islice(frames, most):
            if shown.size != (width, height) or len(batch) == most:
                first = shown
                break
            batch.append(shown)
        yield batch


def detect(batch: Sequence[Shown], detector: Detector, settings: FaceSettings) -> list[list[Detection]]:
    """Return the faces of frames of one size, in pixels of the whole picture.

    They are looked for in pictures that are as small as the smallest face wanted allows.
    """
    width, height = batch[0].size
    side, smallest = working_side(settings.smallest, WORKING_FACE, width, height)
    pictures = [shown.picture(Resize(side, interpolation="area")) for shown in batch]
    small_height, small_width = pictures[0].shape[:2]
    found = detector(pictures, smallest)
    return [[face.scaled(width / small_width, height / small_height) for face in faces] for faces in found]


def _cut_out(
    shown: Shown, faces: Sequence[Detection], tracks: Sequence[int], settings: FaceSettings
) -> list[_Seen]:
    if not faces:
        return []
    picture = shown.picture()
    found = []
    for face, track in zip(faces, tracks, strict=True):
        place = place_of(face, settings.margin, settings.align)
        image = cut_out(picture, place, settings.size)
        found.append(_Seen(face, track, encode(image, settings.quality)))
    return found
