"""What faces are looked for, and how they are cut out."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import PIL
from pydantic import ConfigDict

from affectstack import AffectstackError
from extractors.video import DECODER

MOST_PIXELS = 1024  # of a side of what is cut out
WORKING_FACE = 32  # pixels of the smallest face wanted, in the picture that the detector sees


@dataclass(frozen=True)
class FaceSettings:
    """How faces are found and cut out.

    Attributes:
        fps: Frames per second that are looked at.
        smallest: The smallest face wanted, as a share of the picture's shorter side. The detector sees a
            picture in which such a face has 32 pixels, so large pictures take no longer than small ones.
        confidence: What the detector must be sure of a face with; it gives none below 0.7.
        gap: Seconds that a face may be lost and still be followed.
        margin: What is kept around the face, as a share of its size.
        align: Turn and scale the face so that its eyes, nose and mouth lie where they usually do.
        size: Pixels of a side of what is cut out.
        quality: Of its JPEG file.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    fps: float = 5.0
    smallest: float = 0.1
    confidence: float = 0.9
    gap: float = 1.0
    margin: float = 0.1
    align: bool = True
    size: int = 224
    quality: int = 95

    def check(self, name: str) -> None:
        """Refuse settings that nothing can be found with.

        Raises:
            AffectstackError: Naming the setting, and what it may be.
        """
        ranges = {
            "fps": (0.01, 240.0),
            "smallest": (0.02, 1.0),
            "confidence": (0.7, 1.0),
            "gap": (0.0, 60.0),
            "margin": (0.0, 2.0),
            "size": (32, MOST_PIXELS),
            "quality": (50, 100),
        }
        for key, (least, most) in ranges.items():
            value = getattr(self, key)
            if not least <= value <= most:
                raise AffectstackError(f"{name}: {key} {value:g}; expected {least:g} to {most:g}")

    def identity(self) -> dict[str, Any]:
        """Every setting, and the programs that make pictures."""
        return {
            **asdict(self),
            "working_face": WORKING_FACE,
            "decoder": DECODER,
            "pictures": f"pillow-{PIL.__version__}",
        }
