"""What is said of a recording."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SourceResult:
    """What one source says of a recording.

    Attributes:
        name: The source.
        modalities: What it looks at.
        windows: In how many windows it could be used.
        posteriors: The mean over these, by class, or values by attribute; None if there are none.
        reason: Why it could not be used, everywhere or in most of the other windows; "" if it always could.
    """

    name: str
    modalities: tuple[str, ...]
    windows: int
    posteriors: dict[str, float] | None
    reason: str


@dataclass(frozen=True)
class WindowResult:
    """What is said of one window.

    Attributes:
        start: Seconds.
        end: Seconds.
        posteriors: By class, or values by attribute; None if no source could be used.
        sources: Those that were.
    """

    start: float
    end: float
    posteriors: dict[str, float] | None
    sources: tuple[str, ...]

    @property
    def label(self) -> str:
        """The likeliest class, or ""."""
        return likeliest(self.posteriors) if self.posteriors else ""


@dataclass(frozen=True)
class Prediction:
    """What is said of a recording.

    Attributes:
        path: The file.
        seconds: How long it is.
        posteriors: By class, or values by attribute; of several windows, their mean.
        sources: What each source says, used or not.
        timeline: The windows; one for a recording that is looked at as a whole.
        notes: What a reader must know.
        of_values: True if it is about attributes.
    """

    path: Path
    seconds: float
    posteriors: dict[str, float]
    sources: tuple[SourceResult, ...]
    timeline: tuple[WindowResult, ...]
    notes: tuple[str, ...]
    of_values: bool = False

    @property
    def label(self) -> str:
        """The likeliest class, where it is about classes."""
        return likeliest(self.posteriors)

    @property
    def confidence(self) -> float:
        """Its posterior."""
        return self.posteriors[self.label]

    @property
    def used(self) -> tuple[str, ...]:
        """The modalities that were used, sorted."""
        return tuple(sorted({m for s in self.sources if s.posteriors is not None for m in s.modalities}))

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON; of attributes, "values" stand in place of posteriors and labels."""
        if self.of_values:
            return {
                "file": str(self.path),
                "seconds": self.seconds,
                "values": self.posteriors,
                "used": list(self.used),
                "sources": [_of_values(asdict(source)) for source in self.sources],
                "timeline": [_of_values(asdict(window)) for window in self.timeline],
                "notes": list(self.notes),
            }
        return {
            "file": str(self.path),
            "seconds": self.seconds,
            "label": self.label,
            "confidence": self.confidence,
            "posteriors": self.posteriors,
            "used": list(self.used),
            "sources": [asdict(source) for source in self.sources],
            "timeline": [{**asdict(window), "label": window.label} for window in self.timeline],
            "notes": list(self.notes),
        }


def _of_values(entry: dict[str, Any]) -> dict[str, Any]:
    return {"values" if key == "posteriors" else key: value for key, value in entry.items()}


@dataclass(frozen=True)
class Refusal:
    """A recording of which nothing can be said.

    Attributes:
        path: The file.
        message: Why.
    """

    path: Path
    message: str

    def __str__(self) -> str:
        """Say which file, and why; most reasons name it already."""
        return self.message if self.path.name in self.message else f"{self.path.name}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {"file": str(self.path), "error": self.message}


def likeliest(posteriors: dict[str, float]) -> str:
    """Return the class with the largest posterior, the first of several."""
    return max(posteriors, key=posteriors.__getitem__)
