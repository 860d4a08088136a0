"""Heads and fusions on folds that are drawn again and again, from features that are there."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd

from affectstack import AffectstackError, did_you_mean
from fusion import FUSERS, Combiner
from manifests import Folds, Manifest
from pipeline import stacking
from pipeline.files import alone, canonical_json, publish
from pipeline.head_data import HeadData, load_data
from pipeline.options import ConfigError
from pipeline.processes import spread
from pipeline.protocol import Protocol
from pipeline.scoring import score
from pipeline.splits import Split, draw_splits, folds_of_a_draw, named_splits, shortage
from pipeline.targets import Targets
from pipeline.training import FoldJob, LeakError, held_out_table, refuse_empty_folds, what_decides
from pipeline.workspace import Workspace

_RULES = ("mean", "product")  # of fusions, those that are always shown
_COLUMNS = ["split", "system", "heads", "accuracy_mean", "uar", "accuracy_folds", "fingerprint"]


@dataclass(frozen=True)
class Row:
    """How one source or fusion does on one split.

    Attributes:
        split: The split.
        system: The source, or the fusion.
        heads: What it is made of, in alphabetical order, separated by commas.
        accuracy_mean: Mean of the folds.
        uar: Unweighted average recall over all test clips together.
        accuracy_folds: Per outer fold.
        fingerprint: Of all that decides these figures.
    """

    split: str
    system: str
    heads: str
    accuracy_mean: float
    uar: float
    accuracy_folds: list[float]
    fingerprint: str


@dataclass(frozen=True)
class _Work:
    """What every process needs to know.

    Attributes:
        workspace: The experiment.
        manifest: Its clips.
        heads: Which of its heads.
        fusers: Unfitted, by the name of their system.
    """

    workspace: Workspace
    manifest: Manifest
    heads: tuple[str, ...]
    fusers: Mapping[str, Combiner]


class Redrawing:
    """The heads of an experiment on many splits of its subjects.

    What was found is kept in `resplit/<experiment>.csv`, one row per split, system and set of heads.

    Args:
        workspace: The experiment.
        times: How many times folds are drawn: `{by: subject, k: k, seed: s}` for as many seeds s in turn,
            without those that make the experiment's own folds, or folds that were drawn already. Of few
            subjects there may not be as many.
        seed: The first of them.
        k: Folds of a draw; None is as many as the experiment has, or, where it has one fold alone, as many as
            make test parts of that size.
        heads: Which heads; None takes those that are fused.
        splits: What to place among the draws besides the experiment's own folds; None takes the published
            splits that fit the subjects.
        with_fusion: Train the experiment's own fusion too, on inner folds.

    Raises:
        ConfigError: If there are no such heads, or the subjects cannot be drawn differently.
        LeakError: If a feature has seen subjects of the corpus.
        FeatureError: If a feature was not extracted.
    """

    def __init__(
        self,
        workspace: Workspace,
        times: int,
        seed: int = 0,
        k: int | None = None,
        heads: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        with_fusion: bool = False,
    ) -> None:
        self.path = workspace.folder / "resplit" / f"{workspace.file.stem}.csv"
        self.heads = _chosen(workspace, heads)
        self.manifest = workspace.labelled()
        self._work = _Work(workspace, self.manifest, self.heads, _fusers(workspace, self.heads, with_fusion))
        self.systems = [*self.heads, *self._work.fusers]
        nested = any(fuser.trainable for fuser in self._work.fusers.values())
        own = workspace.folds(self.manifest)
        self.own = own.name
        inner = workspace.experiment.inner_folds
        self.k = folds_of_a_draw(own) if k is None else k
        drawn = draw_splits(self.manifest, own, times, seed, self.k, inner, nested)
        self.times = len(drawn)
        self.shortage = "" if len(drawn) == times else shortage(self.manifest, own, self.k, len(drawn))
        if len(drawn) < 2:
            raise ConfigError(f"{self.shortage}, so nothing would be known of their spread")
        self.splits = [*named_splits(self.manifest, own, splits, inner, nested), *drawn]
        self._by_name = {split.name: split for split in self.splits}
        self._data = _load(self._work)
        for head, data in self._data.items():
            _refuse_seen(data, head)
        self._head_decides = self._what_decides_heads()
        self._rows = _read(self.path)

    @property
    def marks(self) -> dict[str, list[str]]:
        """What sets the figures of a head apart, by head."""
        specs = self._work.workspace.experiment.heads
        return {
            head: [
                *(["transductive"] if specs[head].speaker_norm else []),
                *(["untrained"] if any(index.untrained for index in data.indexes) else []),
            ]
            for head, data in self._data.items()
        }

    def todo(self) -> list[Split]:
        """Return the splits that are not finished."""
        return [split for split in self.splits if len(self._of(split)) < len(self.systems)]

    def run(self, todo: Sequence[Split], workers: int) -> Iterator[tuple[Split, str]]:
        """Train on splits, keep what comes of each at once, and yield it with what went wrong, or ""."""
        done = spread(todo, workers, self._here, _there, self._work)
        for split, found in done:
            if isinstance(found, str):
                yield split, found
                continue
            for row in found:
                fingerprint = self._fingerprint(split, row.system)
                self._rows[row.split, row.system, fingerprint] = replace(row, fingerprint=fingerprint)
            self._write()
            yield split, ""

    def draws(self) -> dict[str, list[Row]]:
        """Return the draws that are finished for every system, by system, in their order."""
        drawn = [self._of(split) for split in self.splits if split.drawn]
        finished = [own for own in drawn if len(own) == len(self.systems)]
        return {system: [own[system] for own in finished] for system in self.systems}

    def placed(self) -> list[tuple[Split, dict[str, Row]]]:
        """Return the other splits with what is known of them by system."""
        return [(split, self._of(split)) for split in self.splits if not split.drawn]

    def _here(self, split: Split) -> tuple[Split, list[Row] | str]:
        return split, _try(self._work, self._data, split)

    def _of(self, split: Split) -> dict[str, Row]:
        """Return what is known of a split by system."""
        keys = {system: (split.name, system, self._fingerprint(split, system)) for system in self.systems}
        return {system: self._rows[key] for system, key in keys.items() if key in self._rows}

    def _what_decides_heads(self) -> dict[str, str]:
        """Return a fingerprint of all that decides the figures of each head, but for the folds."""
        workspace = self._work.workspace
        targets = Targets(tuple(workspace.classes(self.manifest)))
        return {
            head: _short_sha256(canonical_json(what_decides(workspace, head, data, targets)))
            for head, data in self._data.items()
        }

    def _decides(self, system: str, heads: Sequence[str]) -> str | None:
        """Return the same of a head, or of a fusion of some heads; None where that is not known here."""
        if not set(heads) <= set(self._head_decides):
            return None
        own = {head: self._head_decides[head] for head in heads}
        if system not in self._work.fusers:
            return own.get(system)
        spec = self._work.workspace.experiment.fusion.model_dump(mode="json", exclude={"sources", "stacking"})
        return _short_sha256(canonical_json([system, spec["missing"] if system in _RULES else spec, own]))

    def _fingerprint(self, split: Split, system: str) -> str:
        """Return what the figures of a system on a split are known by: its settings, then the folds."""
        heads = self.heads if system in self._work.fusers else (system,)
        return f"{self._decides(system, heads)}-{self._parts(split, system)}"

    def _parts(self, split: Split, system: str) -> str:
        """Return a fingerprint of what a system sees of the folds of a split."""
        fuser = self._work.fusers.get(system)
        return _folds_sha256(split.folds, fuser is not None and fuser.trainable)

    def _current(self, row: Row) -> bool:
        """Tell whether a row may stay: nothing that is known here says that it would be another today."""
        decides = self._decides(row.system, row.heads.split(", "))
        if decides is None:
            return True
        split = self._by_name.get(row.split)
        return row.fingerprint.startswith(
            f"{decides}-" if split is None else f"{decides}-{self._parts(split, row.system)}"
        )

    def _write(self) -> None:
        """Publish what is known here and what others published; what has other settings now is dropped."""
        with alone(self.path):
            both = _read(self.path) | self._rows
            self._rows = {key: row for key, row in both.items() if self._current(row)}
            rows = list(self._rows.values())
            frame = pd.DataFrame([vars(row) for row in rows], columns=_COLUMNS)
            frame["accuracy_folds"] = [" ".join(map(repr, row.accuracy_folds)) for row in rows]
            publish(self.path, frame.to_csv(index=False, lineterminator="\n").encode())


@cache
def _folds_sha256(folds: Folds, inner: bool) -> str:
    parts = [[sorted(f.test), [sorted(p) for p in f.inner] if inner else []] for f in folds]
    return _short_sha256(canonical_json(parts))


def _short_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _chosen(workspace: Workspace, named: Sequence[str] | None) -> tuple[str, ...]:
    """Return the heads to train; refuse those that cannot be trained on other folds."""
    known = workspace.experiment.heads
    heads = (
        list(dict.fromkeys(named)) if named is not None else [h for h in workspace.sources() if h in known]
    )
    if strangers := [head for head in heads if head not in known]:
        raise ConfigError(
            f"{workspace.file.name} has no head {strangers[0]!r}{did_you_mean(strangers[0], known)}; only "
            "heads can be trained on other folds, not fine-tuned encoders or imported posteriors"
        )
    if not heads:
        raise ConfigError(f"{workspace.file.name} has no head to train anew; add one under `heads:`")
    for head in heads:
        if scoped := sorted(workspace.scoped & set(known[head].feature_names)):
            raise ConfigError(
                f"head {head!r} reads {scoped[0]!r}, whose encoder was fine-tuned on the experiment's own "
                "folds and has seen subjects that other folds test; leave it out with --heads"
            )
    return tuple(heads)


def _refuse_seen(data: HeadData, head: str) -> None:
    """Refuse features that have seen anybody: sooner or later every subject is tested."""
    for index in data.indexes:
        if seen := sorted(set(index.seen_subjects) & set(data.subjects.tolist())):
            raise LeakError(
                f"head {head!r}: feature {index.name!r} has seen subject {', '.join(seen[:5])} in training, "
                "and every subject is tested in every draw; the result would be optimistic. Leave the head "
                "out with --heads"
            )


def _fusers(workspace: Workspace, heads: Sequence[str], with_fusion: bool) -> dict[str, Combiner]:
    """Return what combines the heads, by name."""
    fusers: dict[str, Combiner] = {name: FUSERS[name]() for name in _RULES} if len(heads) > 1 else {}
    if with_fusion:
        fuser = workspace.fuser()
        fuser.check(len(heads))
        name = workspace.experiment.fusion.method
        fusers[f"{name}, nested" if fuser.trainable else name] = fuser
    if both := sorted(set(fusers) & set(heads)):
        raise ConfigError(f"head {both[0]!r} has the name of a fusion; give it another")
    return fusers


def _load(work: _Work) -> dict[str, HeadData]:
    return {head: load_data(work.workspace, work.manifest, head) for head in work.heads}


def _try(work: _Work, data: Mapping[str, HeadData], split: Split) -> list[Row] | str:
    """Train on one split; what cannot be trained on costs that split."""
    workspace = work.workspace
    protocol = Protocol.of_clips(workspace, work.manifest, split.folds)
    try:
        for head, own in data.items():
            refuse_empty_folds(own, split.folds, head)
        tables = [
            held_out_table(workspace, [FoldJob(h, fold, Path(), "") for fold in split.folds], own, protocol)
            for h, own in data.items()
        ]
        found = {
            table.about.source: [table.part("test", fold.index) for fold in split.folds] for table in tables
        }
        for name, fuser in work.fusers.items():
            fused = stacking.fuse(tables, fuser, "nested", protocol, workspace.experiment.fusion.missing)
            found[name] = [(fold.clip_ids, fold.fused) for fold in fused]
    except AffectstackError as error:
        return str(error)
    rows = []
    for system, parts in found.items():
        scores = score(parts, protocol)
        heads = ", ".join(sorted(work.heads)) if system in work.fusers else system
        figures = (scores.accuracy_mean, scores.uar, scores.accuracy_folds)
        rows.append(Row(split.name, system, heads, *figures, fingerprint=""))
    return rows


# The data of a worker process, which come with its first split.
_LOADED: list[dict[str, HeadData]] = []


def _there(work: _Work, split: Split) -> tuple[Split, list[Row] | str]:
    """Train on a split in another process, which loads its data once."""
    if not _LOADED:
        _LOADED.append(_load(work))
    return split, _try(work, _LOADED[0], split)


def _read(path: Path) -> dict[tuple[str, str, str], Row]:
    """Return what is kept by split, system and fingerprint; nothing, if it is damaged or absent."""
    try:
        frame = pd.read_csv(io.BytesIO(path.read_bytes()), dtype=str, keep_default_na=False)
        rows = [
            Row(
                split,
                system,
                heads,
                float(mean),
                float(uar),
                [float(part) for part in folds.split()],
                fingerprint,
            )
            for split, system, heads, mean, uar, folds, fingerprint in frame[_COLUMNS].itertuples(index=False)
        ]
    except (OSError, ValueError, KeyError):
        return {}
    return {(row.split, row.system, row.fingerprint): row for row in rows}
