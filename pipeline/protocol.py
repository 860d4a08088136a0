"""Who is what and who is tested when: what all sources of one experiment have in common."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import pandas as pd

from manifests import Folds, Manifest
from pipeline.files import canonical_json
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Protocol:
    """The clips of an experiment as heads, fusions and scores see them.

    Attributes:
        label: The label column.
        classes: In report order.
        labels: Class names by clip id.
        subjects: Subjects by clip id.
        folds: The outer folds.
    """

    label: str
    classes: list[str]
    labels: pd.Series
    subjects: pd.Series
    folds: Folds

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """Return the protocol of an experiment."""
        manifest = workspace.labelled()
        classes = workspace.classes(manifest)
        return cls.from_manifest(manifest, workspace.experiment.label, classes, workspace.folds(manifest))

    @classmethod
    def from_manifest(cls, manifest: Manifest, label: str, classes: Sequence[str], folds: Folds) -> Self:
        """Return the protocol of a manifest's clips."""
        return cls(label, list(classes), manifest.labels(label, classes), manifest.subjects(), folds)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of clips, labels, subjects and folds."""
        rows = sorted(zip(self.labels.index, self.labels, self.subjects.loc[self.labels.index], strict=True))
        parts = [[sorted(f.test), [sorted(p) for p in f.inner]] for f in self.folds]
        return hashlib.sha256(canonical_json([rows, parts]).encode()).hexdigest()
