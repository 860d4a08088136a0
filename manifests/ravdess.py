"""RAVDESS: the Ryerson audio-visual database of emotional speech and song.

Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391. A file name is seven two-digit fields,
`MM-VV-EE-II-SS-RR-AA`: modality, vocal channel, emotion, intensity, statement, repetition, actor.
"""

import re
from pathlib import Path

import pandas as pd

from manifests.corpus import MEDIA_SUFFIXES, Corpus, Reading
from manifests.listing import takes_below
from manifests.manifest import Manifest

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_MODALITY = {"01": "audio-video", "02": "video-only", "03": "audio-only"}
_CHANNEL = {"01": "speech", "02": "song"}
_EMOTION = {f"{i:02d}": name for i, name in enumerate(EMOTIONS, start=1)}
_INTENSITY = {"01": "normal", "02": "strong"}
_STATEMENT = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
_REPETITION = {"01": "1", "02": "2"}
_FIELDS = (_MODALITY, _CHANNEL, _EMOTION, _INTENSITY, _STATEMENT, _REPETITION)
_STEM = re.compile(r"[0-9]{2}(-[0-9]{2}){6}")
_KINDS = {"01": ("video", "audio"), "02": ("video",), "03": ("audio",)}


class Ravdess(Corpus):
    """The speech part of RAVDESS, as published or as far as it is there.

    Voice (`03-*`) and face (`01-*`, `02-*`) files of one take meet on one `clip_id`: the name without
    its modality field. The video is the `01` file, or the `02` file where that is absent; the audio
    is the `03` file, or empty: the sound of the video.

    Args:
        channel: `"speech"` or `"song"`; files of the other channel are left out.
    """

    def __init__(self, channel: str = "speech") -> None:
        self.channel = channel

    def read(self, root: Path) -> Reading:
        """Read every RAVDESS file below `root`, in any folder layout."""
        takes = takes_below(root, "RAVDESS", self._place)
        if not takes.files:
            raise takes.none(root, f"RAVDESS {self.channel} files (names like 03-01-05-01-01-01-16.wav)")
        frame = pd.DataFrame([_row(clip, takes.files[clip]) for clip in sorted(takes.files, key=_order)])
        manifest = Manifest(frame, source="RAVDESS", root=root)
        return Reading(manifest, "emotion", EMOTIONS, "mmer", takes.notes())

    def _place(self, path: Path) -> tuple[str, str] | str:
        fields = path.stem.split("-")
        reason = self._reason_to_skip(path, fields)
        return reason or (path.stem[3:], f"{MEDIA_SUFFIXES[path.suffix.lower()]}{fields[0]}")

    def _reason_to_skip(self, path: Path, fields: list[str]) -> str | None:
        if not _STEM.fullmatch(path.stem):
            return "media files without a RAVDESS name"
        known = all(f in names for f, names in zip(fields, _FIELDS, strict=False))
        if not known or not 1 <= int(fields[6]) <= 24:
            return "files whose name has a field outside the RAVDESS code"
        if MEDIA_SUFFIXES[path.suffix.lower()] not in _KINDS[fields[0]]:
            return f"files that their name calls {_MODALITY[fields[0]]} and their suffix does not"
        if _CHANNEL[fields[1]] != self.channel:
            return f"files of the {_CHANNEL[fields[1]]} channel"
        return None


def _order(clip_id: str) -> tuple[str, str]:
    return clip_id[-2:], clip_id


def _row(clip_id: str, files: dict[str, str]) -> dict[str, str]:
    channel, emotion, intensity, statement, repetition, actor = clip_id.split("-")
    modalities = sorted({kind[-2:] for kind in files})
    return {
        "clip_id": clip_id,
        "subject": actor,
        "video": files.get("video01") or files.get("video02", ""),
        "audio": files.get("audio03") or files.get("audio01", ""),
        "modality": "+".join(_MODALITY[m] for m in modalities),
        "channel": _CHANNEL[channel],
        "emotion": _EMOTION[emotion],
        "intensity": _INTENSITY[intensity],
        "statement": _STATEMENT[statement],
        "repetition": _REPETITION[repetition],
        "actor": actor,
        "sex": "male" if int(actor) % 2 else "female",
    }
