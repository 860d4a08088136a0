"""Who is what and who is tested when: what all sources of one experiment have in common."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifests import Folds, Manifest
from pipeline.files import canonical_json
from pipeline.targets import Targets
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Protocol:
    """The clips of an experiment as heads, fusions and scores see them.

    Attributes:
        label: The label column; "" where it is about attributes.
        classes: In report order; none where it is about attributes.
        labels: Class names by clip id; none where it is about attributes.
        subjects: Subjects by clip id.
        folds: The outer folds.
        values: `[N, A]` values of attributes by clip id; none where it is about classes.
    """

    label: str
    classes: list[str]
    labels: pd.Series
    subjects: pd.Series
    folds: Folds
    values: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        """Return the protocol of an experiment."""
        manifest = workspace.labelled()
        return cls.of_clips(workspace, manifest, workspace.folds(manifest))

    @classmethod
    def of_clips(cls, workspace: Workspace, manifest: Manifest, folds: Folds) -> Self:
        """Return the protocol of some of an experiment's clips."""
        experiment = workspace.experiment
        if not experiment.attributes:
            return cls.from_manifest(manifest, experiment.label, workspace.classes(manifest), folds)
        values = manifest.values(experiment.attributes)
        return cls("", [], pd.Series(dtype=object), manifest.subjects(), folds, values)

    @classmethod
    def from_manifest(cls, manifest: Manifest, label: str, classes: Sequence[str], folds: Folds) -> Self:
        """Return the protocol of a manifest's clips."""
        return cls(label, list(classes), manifest.labels(label, classes), manifest.subjects(), folds)

    @property
    def attributes(self) -> list[str]:
        """The attributes; none where it is about classes."""
        return [str(name) for name in self.values.columns]

    @property
    def targets(self) -> Targets:
        """What a model says of each clip."""
        return Targets(tuple(self.classes), tuple(self.attributes))

    def truth(self, clips: Sequence[str]) -> NDArray[Any]:
        """Return the truth of some clips: `[N]` indices of classes, or `[N, A]` values."""
        if self.attributes:
            return self.values.loc[list(clips)].to_numpy(dtype=np.float64)
        number = {name: i for i, name in enumerate(self.classes)}
        return np.array([number[label] for label in self.labels.loc[list(clips)]], dtype=np.int64)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of clips, labels or values, subjects and folds."""
        rows: list[Any]
        if self.attributes:
            numbers = self.values.to_numpy(dtype=np.float64).tolist()
            owners = self.subjects.loc[self.values.index]
            rows = [self.attributes, *sorted(zip(self.values.index, numbers, owners, strict=True))]
        else:
            owners = self.subjects.loc[self.labels.index]
            rows = sorted(zip(self.labels.index, self.labels, owners, strict=True))
        parts = [[sorted(f.test), [sorted(p) for p in f.inner]] for f in self.folds]
        return hashlib.sha256(canonical_json([rows, parts]).encode()).hexdigest()
