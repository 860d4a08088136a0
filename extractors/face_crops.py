"""Faces, cut out of videos once for all networks that look at them."""

from typing import Any

import numpy as np

from extractors.contract import Clip, Extractor, Features
from extractors.faces.detector import Detector, detector_sha256
from extractors.faces.finding import FaceRow, find_faces
from extractors.faces.settings import FaceSettings
from extractors.registry import EXTRACTORS

_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    *("left", "top", "right", "bottom", "confidence"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
    *("faces", "track"),
)
_PICTURE_BYTES = 20_000  # of 224 pixels, about


@EXTRACTORS.register("faces")
class FaceCrops(Extractor):
    """The face of a clip's subject in every frame: where it is, and cut out, as a JPEG file in the store.

    A row is valid if the subject's face was found in its frame; no other row has a picture, and its numbers
    are 0. Of several faces in a frame, the subject's is the one that covers most of the clip's time and
    picture; see `Tracker.subject`. `faces` counts all of a frame, `track` changes where the face was lost.
    See `FaceSettings` for the arguments.
    """

    modality = "face"
    gives_pictures = True
    counted = ("frames", "with_face", "without_face", "others_alone", "several_faces", "tracks")

    def __init__(
        self,
        fps: float = FaceSettings.fps,
        smallest: float = FaceSettings.smallest,
        confidence: float = FaceSettings.confidence,
        gap: float = FaceSettings.gap,
        margin: float = FaceSettings.margin,
        align: bool = FaceSettings.align,
        size: int = FaceSettings.size,
        quality: int = FaceSettings.quality,
    ) -> None:
        self.settings = FaceSettings(fps, smallest, confidence, gap, margin, align, size, quality)
        self.settings.check("faces")
        self.rows_per_second = fps
        self.row_bytes = 4 * len(COLUMNS) + _PICTURE_BYTES * size**2 // 224**2
        self.clips_per_shard = 64
        self._detector: Detector | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind when sent to another process."""
        return {**self.__dict__, "_detector": None}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Box, confidence, five points, in pixels of the picture; faces in the frame; track."""
        return COLUMNS

    def identity(self) -> dict[str, Any]:
        """The settings, and the detector's weights."""
        return {"detector": "mtcnn", "detector_sha256": detector_sha256(), **self.settings.identity()}

    def extract(self, clip: Clip) -> Features:
        """Find the faces of a clip."""
        if self._detector is None:
            self._detector = Detector(self.settings.confidence)
        rows = find_faces(clip, self._detector, self.settings)
        times = np.array([row.time for row in rows])
        return Features(
            np.stack([_values(row) for row in rows]).astype(np.float32),
            np.column_stack([times, times + 1 / self.settings.fps]),
            np.array([row.face is not None for row in rows]),
            pictures=tuple(row.picture for row in rows),
        )

    def tally(self, features: Features) -> dict[str, int]:
        """Count frames with and without a face, and what else went on."""
        faces, track = features.values[:, -2], features.values[:, -1]
        counts = (
            len(faces),
            features.valid.sum(),
            (faces == 0).sum(),
            ((faces > 0) & ~features.valid).sum(),
            (faces > 1).sum(),
            len(set(track[features.valid].tolist())),
        )
        return dict(zip(self.counted, map(int, counts), strict=True))


def _values(row: FaceRow) -> "np.ndarray[Any, np.dtype[np.float64]]":
    if row.face is None:
        return np.array([*[0.0] * (len(COLUMNS) - 2), row.faces, 0.0])
    return np.array([*row.face.box, row.face.confidence, *row.face.points.ravel(), row.faces, row.track])
