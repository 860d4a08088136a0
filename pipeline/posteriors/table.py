"""Tables of posteriors, or of values: long parquet files that carry their names and who trained on whom."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from affectstack import AffectstackError
from pipeline.files import canonical_json, publish
from pipeline.targets import Targets

Split = Literal["test", "oof", "train"]
NO_INNER = -1
_METADATA = b"affectstack"
_KEYS = ("clip_id", "outer_fold", "inner_fold", "split")


class PosteriorError(AffectstackError):
    """A posterior table that cannot be used."""


@dataclass(frozen=True)
class ModelNote:
    """Who a model has seen.

    Attributes:
        outer_fold: Its outer fold.
        inner_fold: Its inner fold, or -1 for the model of the whole training part.
        seen_subjects: Its training subjects, and those that its features had seen.
        held_out: Those of them that only decided when to stop or what to choose, where that is known.
        remarks: What a reader must know of the clips that it learned from.
    """

    outer_fold: int
    inner_fold: int
    seen_subjects: list[str]
    held_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class About:
    """What a posterior table knows about itself.

    Attributes:
        source: The head.
        label: The label column.
        classes: Class names in column order; none where it holds values.
        head: Everything the experiment said about the head, its seed and defaults included.
        features: The index of the feature it read, without shard names.
        folds: What the split is called.
        protocol_sha256: Fingerprint of the labels, subjects and folds it was made with.
        test_subjects: Per outer fold.
        models: One note per model.
        transductive: True if features were normalised with the test subjects' other clips.
        untrained: True if the extractor's weights were random.
        missing_clips: Clips of the manifest that have no usable features.
        imported: The format that the posteriors were imported from; "" for our own heads.
        selected_on_test: True if the models were chosen, or stopped, by their own test clips.
        claimed: True if a user said whom the models had seen, and no file does.
        why_missing: Why clips have no usable features, by clip id, where that is known.
        remarks: What a reader must know of the clips that the head read, one sentence each.
        attributes: Names of attributes in column order; none where it holds posteriors.
    """

    source: str
    label: str
    classes: list[str]
    head: dict[str, Any]
    features: dict[str, Any]
    folds: str
    protocol_sha256: str
    test_subjects: list[list[str]]
    models: list[ModelNote]
    transductive: bool
    untrained: bool
    missing_clips: list[str]
    imported: str = ""
    selected_on_test: bool = False
    claimed: bool = False
    why_missing: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)

    @property
    def targets(self) -> Targets:
        """What the table has a column for."""
        return Targets(tuple(self.classes), tuple(self.attributes))

    def missing_by_reason(self) -> list[str]:
        """Return a line for each reason why clips are missing: what it is, and which clips."""
        clips: dict[str, list[str]] = {}
        for clip_id in self.missing_clips:
            clips.setdefault(self.why_missing.get(clip_id, "not there"), []).append(clip_id)
        return [
            f"{why} ({', '.join(own[:3])}{f' and {len(own) - 3} more' * (len(own) > 3)})"
            for why, own in clips.items()
        ]


@dataclass(frozen=True)
class PosteriorTable:
    """Posteriors, or values, of one source.

    Attributes:
        rows: Columns `clip_id`, `outer_fold`, `inner_fold`, `split`, and `p:<class>` in class order, or
            `v:<attribute>`; where the model gave logits, also `raw:<class>`.
        about: What is known about them.
    """

    rows: pd.DataFrame
    about: About

    def part(
        self, split: Split, outer_fold: int, *, raw: bool = False
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Return the clips and `[N, K]` posteriors, or values, of one split of an outer fold.

        Args:
            split: "test", "oof" or "train".
            outer_fold: Which.
            raw: Return what the model itself gave: its logits, if those are known.
        """
        rows = self.rows[(self.rows["split"] == split) & (self.rows["outer_fold"] == outer_fold)]
        wanted = self.about.targets.columns
        if raw and set(self.about.targets.raw_columns) <= set(rows):
            wanted = self.about.targets.raw_columns
        return rows["clip_id"].tolist(), rows[wanted].to_numpy(dtype=np.float64)

    def seen_by(self, split: Split, outer_fold: int) -> pd.DataFrame:
        """Return `clip_id` and `inner_fold` of a part, for asking which model made each row."""
        rows = self.rows[(self.rows["split"] == split) & (self.rows["outer_fold"] == outer_fold)]
        return rows[["clip_id", "inner_fold"]]


def columns(classes: Sequence[str]) -> list[str]:
    """Return the posterior columns of some classes."""
    return Targets(tuple(classes)).columns


def rows_of(
    clip_ids: Sequence[str],
    posteriors: NDArray[np.float64],
    targets: Targets,
    outer_fold: int,
    inner_fold: int,
    split: Split,
    raw: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Return posteriors or values, and the logits they come from if there are any, as rows of a table."""
    frame = pd.DataFrame({"clip_id": list(clip_ids)})
    frame["outer_fold"] = np.int32(outer_fold)
    frame["inner_fold"] = np.int32(inner_fold)
    frame["split"] = split
    parts = [frame, pd.DataFrame(posteriors, columns=targets.columns)]
    if raw is not None:
        parts.append(pd.DataFrame(raw, columns=targets.raw_columns))
    return pd.concat(parts, axis=1)


def to_parquet(rows: pd.DataFrame, about: dict[str, Any]) -> bytes:
    """Return a table with metadata as parquet."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata({_METADATA: canonical_json(about).encode()})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def write(path: Path, table: PosteriorTable) -> None:
    """Publish a table."""
    publish(path, to_parquet(table.rows, asdict(table.about)))


def read(path: Path) -> PosteriorTable:
    """Read a table.

    Raises:
        PosteriorError: If the file is absent, damaged, or carries no class names.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise PosteriorError(f"{path}: not a readable parquet file ({error})") from error
    metadata = (table.schema.metadata or {}).get(_METADATA)
    if metadata is None:
        raise PosteriorError(
            f"{path}: carries no class names; posteriors without them are never fused, since column "
            "orders differ between systems"
        )
    value = json.loads(metadata)
    try:
        about = About(**{**value, "models": [ModelNote(**m) for m in value["models"]]})
    except (KeyError, TypeError) as error:
        raise PosteriorError(f"{path}: its metadata is of another version ({error})") from error
    rows = table.to_pandas()
    missing = [c for c in (*_KEYS, *about.targets.columns) if c not in rows]
    if missing:
        raise PosteriorError(f"{path}: missing column {', '.join(map(repr, missing))}")
    return PosteriorTable(rows, about)
