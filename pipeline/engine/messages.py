"""What the engine and its decode workers say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extractors.audit import ClipAudit
from extractors.contract import Clip, Extractor, Features, Window


@dataclass(frozen=True)
class Take:
    """A manifest row as the engine needs it.

    Attributes:
        clip: The clip.
        sha256: Of its files, as the manifest has it; "" if it has none.
        files: Its files.
    """

    clip: Clip
    sha256: str
    files: tuple[Path, ...]

    @property
    def key(self) -> tuple[str, str]:
        """Clip id and view."""
        return self.clip.clip_id, self.clip.view


@dataclass(frozen=True)
class Limits:
    """What one clip may cost before it is given up.

    Attributes:
        seconds: Without a sign of life from the process that works on it.
        bytes: Of memory that this process may take; 0 is no limit.
    """

    seconds: float = 900.0
    bytes: int = 8 << 30


@dataclass(frozen=True)
class Setup:
    """The first message to a worker: what it works with."""

    extractors: Mapping[str, Extractor]
    memory: int


@dataclass(frozen=True)
class Job:
    """One clip to decode.

    Attributes:
        position: Of the clip in the manifest.
        take: The clip.
        features: The features that want it.
        probe: Those of them for which to do the work twice and compare.
    """

    position: int
    take: Take
    features: tuple[str, ...]
    probe: tuple[str, ...] = ()


@dataclass(frozen=True)
class Forget:
    """Close the file that the last pieces were cut from; no answer comes."""


@dataclass(frozen=True)
class Cut:
    """A window of the clip, for a network."""

    feature: str
    window: Window


@dataclass(frozen=True)
class Whole:
    """The features of the whole clip."""

    feature: str
    features: Features


@dataclass(frozen=True)
class Audited:
    """What the media of the clip were found to be, once all of it was given."""

    feature: str
    audit: ClipAudit


@dataclass(frozen=True)
class Failed:
    """The clip cannot be extracted for a feature."""

    feature: str
    type: str
    message: str
    detail: str = ""


@dataclass(frozen=True)
class Stop:
    """Something is wrong that concerns every clip, such as a missing program."""

    feature: str
    message: str


@dataclass(frozen=True)
class Alive:
    """Work on this clip goes on, though nothing came of it yet."""


@dataclass(frozen=True)
class Done:
    """Nothing more will come of this clip."""


Item = Cut | Whole | Audited | Failed | Stop | Alive | Done
