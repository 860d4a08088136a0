"""The leak panel: what could have made the figures too good, each with the number that it rests on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.duplicates import Duplicates, Pair
from pipeline.evaluation import Run
from pipeline.posteriors import About
from pipeline.scoring import chance

Level = Literal["green", "amber", "red", "grey"]
_STACKINGS: dict[str, Level] = {"nested": "green", "cross-fitted": "amber", "in-sample": "red"}
_REMARKS: dict[str, Level] = {
    "in-sample": "red",
    "cross-fitted": "amber",
    "transductive": "amber",
    "selected on test": "red",
    "untrained": "amber",
}
# What has a light of its own need not be said again as a remark.
_SAID = frozenset({"in-sample", "cross-fitted", "transductive", "selected on test", "claimed"})
_FAR = 3.0  # standard errors of the control that are no accident


@dataclass(frozen=True)
class Light:
    """A traffic light.

    Attributes:
        level: "green": looked at and clean; "amber": the reader must know; "red": the figure is too good;
            "grey": not looked at, or not known.
        name: What was looked at.
        number: The number that it rests on.
        sentence: What was found.
    """

    level: Level
    name: str
    number: str
    sentence: str


def lights(run: Run, duplicates: Duplicates | None) -> list[Light]:
    """Return the panel, in the order of the road from features to figures.

    Args:
        run: What was fused and scored.
        duplicates: Clips that are one recording; None if nobody could look.
    """
    return [
        _subjects(run),
        _one_recording(duplicates),
        _held_out(run),
        _stacking(run),
        _selection(run),
        _scalers(run),
        _transductive(run),
        *_control(run),
    ]


def remarks(run: Run) -> Iterator[Light]:
    """Yield what else a reader must know."""
    for flag in run.flags:
        name, _, text = flag.partition(": ")
        if name not in _SAID:
            yield Light(_REMARKS.get(name, "grey"), name, "", _sentence(text))


def _subjects(run: Run) -> Light:
    rows = sum(int((~np.isnan(fold.sources[:, :, 0])).sum()) for fold in run.folds)
    claimed = [about.source for about in run.abouts if about.claimed]
    if claimed:
        return Light(
            "amber",
            "subjects, test",
            f"{len(claimed)} of {len(run.abouts)} sources",
            f"That the models of {', '.join(claimed)} had not seen their test subjects is what was said when "
            "they were imported; no file shows it.",
        )
    return Light(
        "green",
        "subjects, test",
        f"0 of {rows:,} rows",
        "No model was tested on a subject that it, or the weights of the features it read, is known to have "
        "seen.",
    )


def _one_recording(found: Duplicates | None) -> Light:
    name = "one recording twice"
    if found is None:
        return Light("grey", name, "not looked at", "What was heard of the clips could not be kept.")
    looked = f"{found.looked_at:,} of {found.clips:,} clips heard"
    if found.across:
        return Light(
            "red",
            name,
            f"{len(found.across)} pairs of two subjects; {looked}",
            f"One recording under two names is trained on and tested: {_named(found.across)}. Run "
            "python -m pipeline.duplicates, and mend the manifest.",
        )
    if found.within:
        return Light(
            "amber",
            name,
            f"{len(found.within)} pairs of one subject; {looked}",
            f"They never meet across a fold by subject, but count twice: {_named(found.within)}.",
        )
    if not found.looked_at:
        return Light("grey", name, looked, _sentence(found.reason or "No file is there twice"))
    return Light("green", name, f"0 pairs; {looked}", "No two clips are equal files or have the same sound.")


def _named(pairs: Sequence[Pair]) -> str:
    some = ", ".join(f"{p.first} and {p.second} ({p.kind})" for p in pairs[:3])
    return f"{some}, …" if len(pairs) > 3 else some


def _held_out(run: Run) -> Light:
    inner = sum(any(note.inner_fold >= 0 for note in about.models) for about in run.abouts)
    if not run.trained or run.spec.stacking != "nested":
        return Light(
            "grey",
            "subjects, inner folds",
            f"{inner} of {len(run.abouts)} sources have them",
            "The fusion did not learn from inner folds.",
        )
    rows = sum(len(fold.train.clip_ids) for fold in run.rows if fold.train is not None)
    return Light(
        "green",
        "subjects, inner folds",
        f"0 of {rows * len(run.abouts):,} rows",
        "The fusion learned from rows whose models had seen neither the row's subject nor any test subject.",
    )


def _stacking(run: Run) -> Light:
    if not run.trained:
        return Light(
            "green", "stacking", "0 weights", f"{run.spec.method} learns nothing, so it cannot leak."
        )
    text = {
        "nested": "The fusion learned from inner folds of the training part.",
        "cross-fitted": "The fusion of each fold learned from the other folds' test rows, whose models had "
        "seen this fold's test subjects.",
        "in-sample": "The fusion learned from the models' own training rows, which are far too good.",
    }[run.spec.stacking]
    others = ", ".join(
        f"{grade} {100 * (scores.accuracy_mean - run.fusion.accuracy_mean):+.1f} points"
        for grade, scores in run.beside.items()
    )
    return Light(_STACKINGS[run.spec.stacking], "stacking", others or "nothing beside it", text)


def _selection(run: Run) -> Light:
    on = _names(run, lambda about: about.selected_on_test)
    share = f"{len(on)} of {len(run.abouts)} sources"
    if on:
        text = (
            f"The models of {', '.join(on)} were chosen or stopped by their own test clips; every figure "
            "that uses them is optimistic."
        )
        return Light("red", "selection on test", share, text)
    imported = _names(run, lambda about: bool(about.imported))
    if imported:
        text = f"How the imported models of {', '.join(imported)} were chosen is not known here."
        return Light("grey", "selection on test", share, text)
    return Light(
        "green", "selection on test", share, "Whatever was chosen was chosen on held-out training subjects."
    )


def _scalers(run: Run) -> Light:
    own = [about for about in run.abouts if not about.imported]
    scaled = [about for about in own if about.head.get("scale", "none") != "none"]
    text = "Scaling was fitted on the training clips of each fold alone."
    if len(own) < len(run.abouts):
        others = ", ".join(about.source for about in run.abouts if about.imported)
        return Light(
            "grey",
            "scaler scope",
            f"{len(scaled)} of {len(own)} own heads scale",
            f"{text} Of {others} it is not known.",
        )
    return Light("green", "scaler scope", f"{len(scaled)} of {len(own)} heads scale", text)


def _transductive(run: Run) -> Light:
    on = _names(run, lambda about: about.transductive)
    share = f"{len(on)} of {len(run.abouts)} sources"
    if not on:
        return Light(
            "green", "transductive options", share, "No test clip had a part in how another one was read."
        )
    return Light(
        "amber",
        "transductive options",
        share,
        f"Features of {', '.join(on)} were z-scored per speaker over all clips of that speaker, test clips "
        "included; no labels were used.",
    )


def _control(run: Run) -> Iterator[Light]:
    if run.control is None:
        return
    by_chance = chance(run.fusion.confusion)
    clips = int(run.fusion.confusion.sum())
    far = run.control > by_chance + _FAR * np.sqrt(by_chance * (1 - by_chance) / clips)
    yield Light(
        "red" if far else "green",
        "exchanged labels",
        f"{100 * run.control:.1f} %, chance {100 * by_chance:.1f} %",
        "With labels exchanged among the clips of each subject the same fusion does far better than chance: "
        "something knows the answers."
        if far
        else "With labels exchanged among the clips of each subject, the same fusion falls to about chance.",
    )


def _names(run: Run, having: Callable[[About], bool]) -> list[str]:
    return [about.source for about in run.abouts if having(about)]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
