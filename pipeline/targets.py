"""What models say of a clip: a posterior of each class, or a value of each attribute."""

from dataclasses import dataclass

_RAW, _TRUTH = "raw:", "truth:"


@dataclass(frozen=True)
class Targets:
    """The columns of what is said, one of the two.

    Attributes:
        classes: Names of classes, in column order.
        attributes: Names of attributes, in column order.
    """

    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, or the attributes."""
        return self.attributes or self.classes

    @property
    def columns(self) -> list[str]:
        """What the columns of tables are called: `p:<class>` or `v:<attribute>`."""
        return [f"{'v' if self.attributes else 'p'}:{name}" for name in self.names]

    @property
    def truth_columns(self) -> list[str]:
        """What the columns of what is true are called in the table of a run."""
        return [f"{_TRUTH}{name}" for name in self.attributes] or ["label"]

    @property
    def raw_columns(self) -> list[str]:
        """What the columns of what a model itself gave are called, where that is something else."""
        return [f"{_RAW}{name}" for name in self.names]
