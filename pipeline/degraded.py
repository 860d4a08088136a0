"""What a head of several inputs says where one of them says nothing (SYSTEMS 3.8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from classifiers.framed import Degradation, FramedHead
from pipeline.head_data import HeadData
from pipeline.protocol import Protocol
from pipeline.statistics import subject_interval
from pipeline.targets import Targets
from pipeline.workspace import Workspace

INTACT = "intact"


@dataclass(frozen=True)
class Degraded:
    """Test clips of a head, with one input spoilt.

    Attributes:
        head: Which head.
        feature: The input that says nothing; "" of none.
        how: How it was spoilt.
        accuracy: Over all test clips that have all inputs.
        interval: Its 95 % interval over subjects, by bootstrap.
        drop: How much the accuracy of the same clips is less than with all their inputs.
        changed: Share of these clips that another class is said of.
    """

    head: str
    feature: str
    how: str
    accuracy: float
    interval: tuple[float, float]
    drop: float
    changed: float


def rows_of_degraded(
    head: FramedHead, data: HeadData, rows: Sequence[int], features: Sequence[str], targets: Targets
) -> pd.DataFrame:
    """Return what a fitted head says of test clips: `clip_id`, `feature`, `how` and posteriors.

    Args:
        head: Fitted on other subjects.
        data: What it reads.
        rows: Its test clips.
        features: The features that its inputs are.
        targets: The classes, in the order of the columns.
    """
    tables = []
    # A clip that has nothing else would be asked about nothing.
    own = [i for i in rows if all(part is not None for part in data.inputs[i])]
    if not own:
        return pd.DataFrame()
    X, clips = [data.inputs[i] for i in own], [data.clip_ids[i] for i in own]
    whole = head.predict_proba(X)
    for place, feature in enumerate(features):
        found = {how: head.predict_degraded(X, place, how) for how in get_args(Degradation)}
        for how, posteriors in {INTACT: whole, **found}.items():
            table = pd.DataFrame(0.0, index=range(len(clips)), columns=targets.columns)
            table[Targets(tuple(head.classes_)).columns] = posteriors
            tables.append(
                pd.concat([pd.DataFrame({"clip_id": clips, "feature": feature, "how": how}), table], axis=1)
            )
    return pd.concat(tables, ignore_index=True)


def path_of(folder: Path) -> Path:
    """Return where a fold keeps its rows."""
    return folder / "degraded.parquet"


def read_degraded(workspace: Workspace, head: str, protocol: Protocol) -> list[Degraded]:
    """Return how a head does without its inputs, over all folds; nothing if it was never asked.

    Args:
        workspace: The experiment.
        head: The head.
        protocol: Labels and subjects.
    """
    if head not in workspace.experiment.heads or not workspace.head(head).partial:
        return []  # whatever lies there is of another head of this name
    folders = [workspace.folder / "models" / head / f"fold{k}" for k in range(len(protocol.folds))]
    tables = [pd.read_parquet(path_of(folder)) for folder in folders if path_of(folder).is_file()]
    rows = pd.concat([t for t in tables if len(t)] or [pd.DataFrame()])
    if rows.empty:
        return []
    found = []
    for feature in dict.fromkeys(rows["feature"]):
        own = rows[rows["feature"] == feature]
        hows = list(dict.fromkeys(own["how"]))
        parts = {how: own[own["how"] == how].set_index("clip_id") for how in hows}
        clips = parts[INTACT].index
        truth, owners = protocol.labels.loc[clips].to_numpy(), protocol.subjects.loc[clips].tolist()
        decided = {
            how: np.asarray(protocol.classes, dtype=object)[
                part.loc[clips, protocol.targets.columns].to_numpy().argmax(axis=1)
            ]
            for how, part in parts.items()
        }
        whole = decided[INTACT] == truth
        for how, guess in decided.items():
            right = guess == truth
            interval = subject_interval(right, owners)
            drop, changed = float(whole.mean() - right.mean()), float((guess != decided[INTACT]).mean())
            found.append(Degraded(head, feature, how, float(right.mean()), interval, drop, changed))
    return found
