"""What a corpus reader returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from manifests.manifest import Manifest

MEDIA_SUFFIXES = {
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".webm", ".m4v", ".flv"), "video"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus"), "audio"),
    ".txt": "text",
}


@dataclass(frozen=True)
class Reading:
    """A corpus as read.

    Attributes:
        manifest: Its clips.
        label: The label column; empty where there is none.
        classes: The classes in their canonical order.
        folds: The split that this corpus is usually scored on, as `make_folds` takes it.
        notes: What was left out and why, and what was done to labels, one sentence each.
        attributes: Columns of values, where the corpus is about these and not about classes.
    """

    manifest: Manifest
    label: str
    classes: tuple[str, ...]
    folds: str | dict[str, object]
    notes: list[str] = field(default_factory=list)
    attributes: tuple[str, ...] = ()


class Corpus(ABC):
    """A reader of one kind of corpus."""

    @abstractmethod
    def read(self, root: Path) -> Reading:
        """Read the corpus below `root`.

        Raises:
            ManifestError: If nothing there belongs to the corpus.
        """
