"""One published figure beside ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: What it is.
        ours: What we derived.
        reference: What was published or derived from the published files by others.
        tolerance: How far they may be apart.
    """

    name: str
    ours: float
    reference: float
    tolerance: float

    @property
    def passes(self) -> bool:
        """Whether they agree."""
        return abs(self.ours - self.reference) <= self.tolerance
