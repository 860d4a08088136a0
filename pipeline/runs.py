"""Runs that `fuse` wrote, read back from their folders."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from affectstack import AffectstackError, did_you_mean
from pipeline.experiment import load
from pipeline.files import read_json
from pipeline.options import problem
from pipeline.targets import Targets

_STAMP = r"\d{8}-\d{6}(?:-(\d+))?"
_TOLERANCE = 2e-3  # of posteriors that should sum to 1; rounded ones came in with an error of up to 1e-3


class RunError(AffectstackError):
    """A run that cannot be read, or not be compared."""


class _Fusion(BaseModel):
    method: str
    stacking: str
    sources: Annotated[list[str], Field(min_length=1)]
    temperature: bool = False


class SourceFigures(BaseModel):
    """How a source did in a run, on all clips of that run which it has.

    Attributes:
        accuracy_mean: Mean of the folds.
        accuracy: Over all clips together.
        interval: Its 95 % interval over subjects.
        uar: Unweighted average recall.
        confusion: Counts.
    """

    accuracy_mean: float
    accuracy: float
    interval: Annotated[tuple[float, float], Field(alias="subject_interval_95")]
    uar: float
    confusion: list[list[int]]

    @property
    def clips(self) -> int:
        """How many were counted."""
        return sum(map(sum, self.confusion))


class _Folds(BaseModel):
    name: str
    test_subjects: Annotated[list[list[str]], Field(min_length=1)]


class _Metrics(BaseModel):
    """What of `metrics.json` is read back; whatever else is there is left alone."""

    classes: list[str] = []
    attributes: list[str] = []
    sources: dict[str, SourceFigures] = {}
    fusion: _Fusion
    folds: _Folds
    flags: list[str]

    @property
    def targets(self) -> Targets:
        return Targets(tuple(self.classes), tuple(self.attributes))

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if bool(self.attributes) == bool(self.classes) or len(self.classes) == 1:
            raise ValueError("expected at least 2 classes, or attributes")
        return self


@dataclass(frozen=True)
class StoredRun:
    """A run as its folder holds it.

    Attributes:
        name: What tables call it.
        folder: Where it lies.
        targets: The class order, or the attributes.
        method: How it was fused.
        temperature: Whether the sources were calibrated first, which is learned.
        stacking: What the fusion learned from.
        sources: What was fused.
        source_figures: How each of them did; not kept of attributes.
        folds_name: What the split is called.
        test_subjects: Per outer fold.
        flags: What a reader must know, each `"<what>: <sentence>"`.
        clips: Indexed by clip id: `label`, or `truth:<attribute>` for each; `subject`, `fold`.
        posteriors: `[N, K]`, or values, in the order of `clips` and `targets`.
    """

    name: str
    folder: Path
    targets: Targets
    method: str
    temperature: bool
    stacking: str
    sources: list[str]
    source_figures: dict[str, SourceFigures]
    folds_name: str
    test_subjects: list[list[str]]
    flags: list[str]
    clips: pd.DataFrame
    posteriors: NDArray[np.float64]

    @property
    def classes(self) -> list[str]:
        """The class order; none if it is about attributes."""
        return list(self.targets.classes)

    @property
    def marks(self) -> list[str]:
        """The first words of the flags."""
        return [flag.partition(":")[0] for flag in self.flags]


def read_runs(named: Sequence[str]) -> list[StoredRun]:
    """Read several runs.

    Args:
        named: Each a run's folder, the name of one below `reports`, or an experiment file: its latest run.

    Raises:
        RunError: If one is no run, is damaged, or is named twice.
    """
    folders: dict[Path, str] = {}
    for text in named:
        folder = find_run(text)
        if folder in folders:
            raise RunError(
                f"{text} is the same run as {folders[folder]} ({folder.name}); name every run once"
            )
        folders[folder] = text
    names = [folder.name for folder in folders]
    return [
        read_run(folder, folder.name if names.count(folder.name) == 1 else text)
        for folder, text in folders.items()
    ]


def find_run(named: str) -> Path:
    """Return the folder that someone means by a path, a name below `reports`, or an experiment file.

    Raises:
        RunError: If there is none.
    """
    path = Path(named)
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return _latest(path)
    for folder in (path, Path("reports") / named):
        if folder.is_dir():
            if not (folder / "metrics.json").is_file():
                raise RunError(
                    f"{folder} is no run: it holds no metrics.json. Runs are the folders in reports/"
                )
            return folder.resolve()
    there = sorted(p.name for p in Path("reports").glob("*") if (p / "metrics.json").is_file())
    raise RunError(f"no run {named}: neither a folder, nor one in reports/{did_you_mean(named, there)}")


def _latest(experiment: Path) -> Path:
    """Return the newest run of an experiment file."""
    pattern = re.compile(re.escape(experiment.stem) + "-" + _STAMP)
    found = []
    for folder in (experiment.resolve().parent / "reports").glob(f"{experiment.stem}-*"):
        if (match := pattern.fullmatch(folder.name)) and (folder / "metrics.json").is_file():
            attempt = int(match[1] or 1)
            found.append(
                (folder.name.removesuffix(f"-{match[1]}") if match[1] else folder.name, attempt, folder)
            )
    if not found:
        raise RunError(
            f"{experiment} has no run yet; make one with: python -m pipeline.fuse --experiment {experiment}"
        )
    return max(found)[2].resolve()


def read_run(folder: Path, name: str) -> StoredRun:
    """Read a run.

    Args:
        folder: It holds `metrics.json` and `fused.parquet`.
        name: What tables shall call it.

    Raises:
        RunError: If a file is absent or damaged, or what it says does not fit together.
    """
    metrics = _metrics(folder)
    rows = _table(folder / "fused.parquet", metrics)
    if "subject" not in rows:
        rows["subject"] = _subjects_beside(folder, rows["clip_id"].tolist())
    clips = rows.set_index("clip_id")[[*metrics.targets.truth_columns, "subject", "outer_fold"]]
    clips = clips.rename(columns={"outer_fold": "fold"})
    tests = [set(subjects) for subjects in metrics.folds.test_subjects]
    for clip, subject, fold in clips[["subject", "fold"]].itertuples():
        if subject not in tests[fold]:
            raise RunError(
                f"{folder}: clip {clip} is of subject {subject!r}, no test subject of its fold {fold}; "
                "the manifest has changed since. Fuse again"
            )
    return StoredRun(
        name=name,
        folder=folder,
        targets=metrics.targets,
        method=metrics.fusion.method,
        temperature=metrics.fusion.temperature,
        stacking=metrics.fusion.stacking,
        sources=metrics.fusion.sources,
        source_figures=metrics.sources,
        folds_name=metrics.folds.name,
        test_subjects=metrics.folds.test_subjects,
        flags=metrics.flags,
        clips=clips,
        posteriors=rows[metrics.targets.columns].to_numpy(np.float64),
    )


def _metrics(folder: Path) -> _Metrics:
    value = read_json(folder / "metrics.json")
    if value is None:
        raise RunError(f"{folder / 'metrics.json'} is damaged: not a JSON object. Fuse again")
    if value.get("attributes"):
        value = {**value, "sources": {}}
    try:
        return _Metrics.model_validate(value)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "classes"
        raise RunError(f"{folder / 'metrics.json'}: {where}: {problem(error)}. Fuse again") from error


def _table(path: Path, metrics: _Metrics) -> pd.DataFrame:
    """Read what the fusion said; refuse what could not be scored."""
    targets = metrics.targets
    try:
        rows = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: not a readable parquet file ({error}). Fuse again") from error
    wanted = ["clip_id", *targets.truth_columns, "outer_fold", *targets.columns]
    if missing := [c for c in wanted if c not in rows]:
        raise RunError(f"{path}: missing column {', '.join(map(repr, missing))}. Fuse again")
    if rows.empty:
        raise RunError(f"{path}: holds no clip. Fuse again")
    for column in {"clip_id", "label", "subject"} & set(rows):
        rows[column] = rows[column].astype(str)
    folds = len(metrics.folds.test_subjects)
    trouble = {
        "a clip twice": rows["clip_id"].duplicated(),
        "a fold beyond those of metrics.json": ~rows["outer_fold"].isin(range(folds)),
        **(_no_values(rows, targets) if targets.attributes else _no_posteriors(rows, targets)),
    }
    for what, there in trouble.items():
        if there.any():
            clip = rows["clip_id"][np.asarray(there)].iloc[0]
            raise RunError(f"{path}: {what} (clip {clip!r}). Fuse again")
    return rows


def _no_posteriors(rows: pd.DataFrame, targets: Targets) -> dict[str, Any]:
    """Return what may be wrong with posteriors, and the rows where it is."""
    P = rows[targets.columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return {
        "a label that is no class of metrics.json": ~rows["label"].isin(targets.classes),
        "posteriors that are none": ~((P >= 0).all(axis=1) & (np.abs(P.sum(axis=1) - 1) < _TOLERANCE)),
    }


def _no_values(rows: pd.DataFrame, targets: Targets) -> dict[str, Any]:
    """Return what may be wrong with values, and the rows where it is."""
    found = {}
    for what, columns in (("said", targets.columns), ("true", targets.truth_columns)):
        values = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        found[f"{what} values that are no finite numbers"] = ~np.isfinite(values).all(axis=1)
    return found


def _subjects_beside(folder: Path, clips: Sequence[str]) -> list[str]:
    """Return the subjects of clips by the manifest of the experiment that made a run."""
    stem = re.sub("-" + _STAMP + "$", "", folder.name)
    file = folder.parent.parent / f"{stem}.yaml"
    if not file.is_file():
        raise RunError(
            f"{folder}: fused.parquet has no column 'subject', and there is no {file} whose manifest would "
            "know the subjects. Fuse again"
        )
    subjects = load(file).manifest().subjects()
    if strangers := [clip for clip in clips if clip not in subjects]:
        raise RunError(f"{folder}: clip {strangers[0]!r} is not in the manifest of {file}. Fuse again")
    return [str(s) for s in subjects.loc[list(clips)]]
