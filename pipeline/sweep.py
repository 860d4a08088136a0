"""A grid of heads on the outer folds: what `train_heads --sweep` does."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from manifests import Manifest
from pipeline.files import as_text, publish, publish_json, read_json
from pipeline.head_data import HeadData, inputs_of, load_data
from pipeline.processes import spread
from pipeline.protocol import Protocol
from pipeline.sections import HeadSpec
from pipeline.statistics import binomial_half_width, subject_interval
from pipeline.training import (
    FoldJob,
    fit_head,
    fold_jobs,
    refuse_empty_folds,
    refuse_leaks,
)
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Row:
    """How one setting does.

    Attributes:
        name: The setting.
        accuracy_folds: Per outer fold.
        accuracy_mean: Their mean.
        binomial: Half the width of its 95 % interval if all clips were independent.
        interval: 95 % interval of the accuracy over all clips, over subjects.
    """

    name: str
    accuracy_folds: list[float]
    accuracy_mean: float
    binomial: float
    interval: tuple[float, float]


class Sweep:
    """The settings of an experiment's `sweep`, each tried on every outer fold; no inner folds.

    Nothing is chosen: the table shows test figures of all settings, and whoever picks the best of them
    picks on the test folds.

    Args:
        workspace: The experiment.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.protocol = Protocol.of(workspace)
        self._manifest = workspace.labelled()
        self._grid = workspace.with_heads(workspace.experiment.settings())
        self._cache = workspace.folder / "sweep"
        self._data: dict[tuple[Any, ...], HeadData] = {}
        self.jobs: dict[str, list[FoldJob]] = {}
        for name in self._grid.experiment.heads:
            data = self._data_of(name)
            refuse_leaks(data, self.protocol.folds, name)
            refuse_empty_folds(data, self.protocol.folds, name)
            self.jobs[name] = fold_jobs(self._grid, name, data, self.protocol.folds, self.protocol.targets)

    def todo(self) -> list[FoldJob]:
        """Return what was not tried yet, settings of one feature together."""
        jobs = [
            job for own in self.jobs.values() for job in own if read_json(_path(self._cache, job)) is None
        ]
        return sorted(jobs, key=lambda job: str(_key(self._grid, job.head)))

    def run(self, jobs: Sequence[FoldJob], workers: int) -> Iterator[None]:
        """Try settings, in processes where that pays."""
        yield from spread(
            jobs, workers, self._try_here, _try_in_worker, self._grid, self._manifest, self._cache
        )

    def _try_here(self, job: FoldJob) -> None:
        _try(self._grid, job, self._data_of(job.head), _path(self._cache, job))

    def table(self) -> list[Row]:
        """Return the rows in the order of the experiment."""
        return [self._row(name, own) for name, own in self.jobs.items()]

    def _row(self, name: str, jobs: Sequence[FoldJob]) -> Row:
        right, accuracies, clips = [], [], []
        for job in jobs:
            note = read_json(_path(self._cache, job)) or {}
            own = self.protocol.labels.loc[note["clips"]].to_numpy() == np.array(note["guesses"])
            accuracies.append(float(own.mean()))
            right.append(own)
            clips += note["clips"]
        mean = float(np.mean(accuracies))
        owners = self.protocol.subjects.loc[clips].tolist()
        return Row(
            name,
            accuracies,
            mean,
            binomial_half_width(mean, len(clips)),
            subject_interval(np.concatenate(right), owners),
        )

    def _data_of(self, name: str) -> HeadData:
        key = _key(self._grid, name)
        if key not in self._data:
            self._data[key] = load_data(self._grid, self._manifest, name)
        return self._data[key]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Publish the rows as CSV; accuracies in %."""
    frame = pd.DataFrame(
        {
            "setting": [as_text(r.name) for r in rows],
            "accuracy_mean": [100 * r.accuracy_mean for r in rows],
            "binomial_95": [100 * r.binomial for r in rows],
            "low_95_subjects": [100 * r.interval[0] for r in rows],
            "high_95_subjects": [100 * r.interval[1] for r in rows],
            **{
                f"fold{k}": [100 * r.accuracy_folds[k] for r in rows]
                for k in range(len(rows[0].accuracy_folds))
            },
        }
    )
    publish(path, frame.to_csv(index=False, float_format="%.3f", lineterminator="\n").encode())


def _key(workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Return what decides the data that a head reads."""
    spec: HeadSpec = workspace.experiment.heads[name]
    head = workspace.head(name)
    read = (spec.features, spec.pool, spec.speaker_norm, spec.views, spec.soft)
    timed = (spec.rate, spec.longest, spec.cut)
    return *read, *timed, head.sequence, head.inputs, head.partial, head.learns_unlabelled


def _path(folder: Path, job: FoldJob) -> Path:
    """Return where the result of a job is kept."""
    fold = hashlib.sha256(f"{job.fingerprint}:{job.fold.index}".encode()).hexdigest()
    return folder / f"{fold[:32]}.json"


def _try(grid: Workspace, job: FoldJob, data: HeadData, path: Path) -> None:
    in_test = np.isin(data.subjects, sorted(job.fold.test)) & data.labelled
    in_train = np.isin(data.subjects, sorted(job.fold.train))
    head = fit_head(grid, job, data, in_train)
    clips = [data.clip_ids[i] for i in np.flatnonzero(in_test)]
    guesses = head.predict(inputs_of(head, data, in_test)).tolist()
    publish_json(path, {"setting": job.head, "fold": job.fold.index, "clips": clips, "guesses": guesses})


# The data that a worker process loaded last, by what decides it.
_LOADED: dict[tuple[Any, ...], HeadData] = {}


def _try_in_worker(grid: Workspace, manifest: Manifest, folder: Path, job: FoldJob) -> None:
    key = _key(grid, job.head)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = load_data(grid, manifest, job.head)
    _try(grid, job, _LOADED[key], _path(folder, job))
