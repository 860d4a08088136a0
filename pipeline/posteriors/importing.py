"""Bringing foreign posteriors under the leak rule."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from affectstack import did_you_mean
from affectstack.hashing import file_sha256
from manifests import Folds
from pipeline.posteriors.dialects import Foreign, Part
from pipeline.posteriors.table import (
    NO_INNER,
    About,
    ModelNote,
    PosteriorError,
    PosteriorTable,
    rows_of,
)
from pipeline.protocol import Protocol

_SHOWN = 5
_UNNUMBERED = -1


def bring_in(
    foreign: Foreign,
    name: str,
    protocol: Protocol,
    *,
    rename: Mapping[str, str] | None = None,
    name_pattern: str | None = None,
    others_trained: bool = False,
) -> tuple[PosteriorTable, list[str]]:
    """Make a posterior table of foreign posteriors.

    Args:
        foreign: What was read.
        name: What the source shall be called.
        protocol: The experiment's clips, labels, subjects and folds.
        rename: Their class names to ours, where they differ by more than capitals.
        name_pattern: A regular expression with one group that finds the clip id inside a name.
        others_trained: True if the user says that the model of a fold saw all other folds' subjects and
            none of its own; needed where the files do not list their training clips.

    Returns:
        The table, and what a user should know about it, a line each.

    Raises:
        PosteriorError: If classes, clips, labels, folds or training subjects do not fit or are unknown.
    """
    notes = list(foreign.notes)
    # The classes of a csv were found by their names, with `rename`, when it was read.
    spelling = _spelling(foreign.classes, protocol.classes, {} if foreign.format == "csv" else rename or {})
    theirs = [spelling[c] for c in foreign.classes]
    if theirs != protocol.classes:
        notes.append(f"columns permuted by name: {', '.join(theirs)} -> {', '.join(protocol.classes)}")
    if not foreign.parts:
        raise PosteriorError("no test or train rows in these files; a column `split` says which they are")
    rows = pd.concat([_frame(p, theirs) for p in foreign.parts], ignore_index=True)
    _refuse_odd_values(rows, theirs, foreign)
    rows["clip_id"] = _clip_ids(rows["name"], protocol, name_pattern or foreign.name_pattern)
    strangers = sorted(set(rows.loc[rows["clip_id"] == "", "name"]))
    rows = rows[rows["clip_id"] != ""]
    if rows.empty:
        raise PosteriorError(f"none of the clips is in the manifest; they are called {_some(strangers)}")
    tested = set(rows.loc[rows["split"] == "test", "own_fold"])
    if untested := sorted(set(rows["own_fold"]) - tested - {_UNNUMBERED}):
        notes.append(
            f"their folds {', '.join(map(str, untested))} test nobody of the manifest and were left out"
        )
        rows = rows[~rows["own_fold"].isin(untested)]
    if strangers:
        notes.append(
            f"{len(strangers)} clips that are not in the manifest were left out ({_some(strangers)})"
        )
    _refuse_other_labels(rows, protocol, {**spelling, **(rename or {})})
    rows = _in_our_folds(rows, protocol)
    models, frames = [], []
    for fold in protocol.folds:
        own = rows[rows["fold"] == fold.index]
        test, train = own[own["split"] == "test"], own[own["split"] == "train"]
        if test.empty:
            raise PosteriorError(
                f"no test posteriors for fold {fold.index} (subjects {_some(sorted(fold.test))})"
            )
        seen = _seen(train, test, fold.train if others_trained else frozenset(), fold.index, protocol)
        models.append(ModelNote(fold.index, NO_INNER, seen))
        for split, part in (("test", test), ("train", train)):
            values = part[protocol.classes].to_numpy(dtype=np.float64)
            logits = values if foreign.kind == "logits" else None
            chances = _sum_to_one(values) if logits is None else softmax(logits, axis=1)
            frames.append(
                rows_of(part["clip_id"].tolist(), chances, protocol.targets, fold.index, NO_INNER,
                        "test" if split == "test" else "train", logits)
            )  # fmt: skip
    missing = sorted(set(protocol.labels.index) - set(rows.loc[rows["split"] == "test", "clip_id"]))
    if missing:
        notes.append(f"{len(missing)} clips of the manifest have no test posteriors ({_some(missing)})")
    files = sorted({p.file for p in foreign.parts})
    about = About(
        source=name,
        label=protocol.label,
        classes=list(protocol.classes),
        head={"imported": foreign.format},
        features={"name": "", "identity": {f"{f.parent.name}/{f.name}": file_sha256(f) for f in files}},
        folds=protocol.folds.name,
        protocol_sha256=protocol.sha256,
        test_subjects=[sorted(f.test) for f in protocol.folds],
        models=models,
        transductive=False,
        untrained=False,
        missing_clips=missing,
        imported=foreign.format,
        selected_on_test=foreign.selected_on_test,
        claimed=others_trained,
    )
    return PosteriorTable(pd.concat(frames, ignore_index=True), about), notes


def _spelling(theirs: Sequence[str], ours: Sequence[str], rename: Mapping[str, str]) -> dict[str, str]:
    """Return our name of each of their classes."""
    spelled = {c.casefold(): c for c in ours}
    out = {}
    for name in theirs:
        wanted = rename.get(name, name)
        if wanted.casefold() not in spelled:
            raise PosteriorError(
                f"class {name!r} is none of this experiment's{did_you_mean(wanted, ours)}; if it is another "
                f"name for one of them, say so, as in: --rename {name}={ours[0]}"
            )
        out[name] = spelled[wanted.casefold()]
    if sorted(out.values()) != sorted(ours):
        raise PosteriorError(
            f"the posteriors have classes {', '.join(out.values())}; expected {', '.join(ours)}, each once"
        )
    return out


def _frame(part: Part, classes: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(part.values, columns=pd.Index(classes))
    frame["name"], frame["split"] = part.names, part.split
    frame["own_fold"] = _UNNUMBERED if part.fold is None else part.fold
    frame["file"] = str(part.file)
    frame["said"] = part.labels if part.labels is not None else ""
    return frame


def _refuse_odd_values(rows: pd.DataFrame, classes: Sequence[str], foreign: Foreign) -> None:
    values = rows[list(classes)].to_numpy(dtype=np.float64)
    odd = ~np.isfinite(values).all(axis=1)
    what = "are NaN or infinite"
    if not odd.any() and foreign.kind == "probabilities":
        odd = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > 1e-3)
        what = "are no probabilities: expected numbers of at least 0 that sum to 1"
    if odd.any():
        first = rows[odd].iloc[0]
        raise PosteriorError(f"{first['file']}: the posteriors of {first['name']!r} {what}")


def _sum_to_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo what rounding in a file did to `[N, K]` probabilities."""
    return values / values.sum(axis=1, keepdims=True)


def _clip_ids(names: pd.Series, protocol: Protocol, pattern: str | None) -> list[str]:
    """Return the clip that each name means; "" for those that the manifest does not have."""
    known = set(protocol.labels.index)
    try:
        expression = re.compile(pattern) if pattern is not None else None
    except re.error as error:
        raise PosteriorError(f"name pattern {pattern!r}: not a regular expression ({error})") from error
    if expression is not None and expression.groups != 1:
        raise PosteriorError(f"name pattern {pattern!r}: expected one group, as in '(.+)[.]wav'")
    found = []
    for name in names:
        match = None if expression is None or name in known else expression.fullmatch(name)
        clip = name if match is None else match[1]
        found.append(clip if clip in known else "")
    return found


def _refuse_other_labels(rows: pd.DataFrame, protocol: Protocol, spelling: Mapping[str, str]) -> None:
    """Refuse rows whose own label is not the manifest's: they belong to other clips than they say."""
    spelled = {c.casefold(): c for c in protocol.classes}
    ours = {theirs.casefold(): spelled.get(name.casefold()) for theirs, name in spelling.items()}
    said = rows[rows["said"] != ""]
    labels = protocol.labels.loc[said["clip_id"]].to_numpy()
    named = said["said"].str.casefold().map(ours).to_numpy()
    if (wrong := np.flatnonzero(named != labels)).size:
        first = said.iloc[int(wrong[0])]
        raise PosteriorError(
            f"{first['file']}: says {first['said']!r} of clip {first['name']!r}, the manifest says "
            f"{labels[int(wrong[0])]!r} ({wrong.size} such rows); these rows carry the names of other "
            "clips, or the labels are another corpus's"
        )


def _in_our_folds(rows: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the rows with `fold`, the experiment's number of the fold that they belong to."""
    rows = rows.assign(subject=protocol.subjects.loc[rows["clip_id"]].to_numpy())
    places: dict[int, int] = {}
    for number, own in rows[rows["own_fold"] != _UNNUMBERED].groupby("own_fold"):
        tested = frozenset(own.loc[own["split"] == "test", "subject"])
        place = _matching(tested, protocol.folds)
        if place is None or place in places.values():
            raise PosteriorError(
                f"{own['file'].iloc[0]}: tests subjects {', '.join(sorted(tested)) or 'none'}, and no fold "
                f"of this experiment ({protocol.folds.name}) is left that tests them; the files are of "
                "another split or of another run. Compare `folds:` in the experiment"
            )
        places[int(str(number))] = place
    by_subject = {s: f.index for f in protocol.folds for s in f.test}
    unnumbered = (rows["own_fold"] == _UNNUMBERED) & (rows["split"] == "train")
    if unnumbered.any():
        raise PosteriorError(
            f"{rows.loc[unnumbered, 'file'].iloc[0]}: has train rows but no column `fold` that says whose"
        )
    rows["fold"] = [
        by_subject.get(subject, _UNNUMBERED) if own == _UNNUMBERED else places[own]
        for own, subject in zip(rows["own_fold"], rows["subject"], strict=True)
    ]
    if (untested := rows["fold"] == _UNNUMBERED).any():
        subject = rows.loc[untested, "subject"].iloc[0]
        raise PosteriorError(
            f"subject {subject!r} is no test subject of this experiment ({protocol.folds.name})"
        )
    if (twice := rows.duplicated(["clip_id", "fold", "split"])).any():
        first = rows[twice].iloc[0]
        raise PosteriorError(
            f"{first['file']}: clip {first['name']!r} is a {first['split']} row of fold {first['fold']} twice"
        )
    return rows


def _matching(tested: frozenset[str], folds: Folds) -> int | None:
    """Return the fold whose test subjects these are, some of whom may have no clip here."""
    return next((f.index for f in folds if tested and tested <= f.test), None)


def _seen(
    train: pd.DataFrame, test: pd.DataFrame, said: frozenset[str], fold: int, protocol: Protocol
) -> list[str]:
    """Return the training subjects of a fold's model.

    Raises:
        PosteriorError: If they are unknown, or test clips stand among the training rows.
    """
    if both := sorted(set(train["subject"]) & set(test["subject"])):
        row = train[train["subject"].isin(both)].iloc[0]
        raise PosteriorError(
            f"{row['file']}: its training rows name clips of test subjects of fold {fold} (such as "
            f"{row['name']!r}): either the model was trained on them, or the rows carry other clips' "
            "names. Refused"
        )
    seen = sorted({*train["subject"], *said})
    if not seen:
        raise PosteriorError(
            f"nothing says which subjects the model of fold {fold} was trained on: there are no train rows. "
            "If each model was trained on the other folds' subjects alone, say so with --others-trained"
        )
    return seen


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
