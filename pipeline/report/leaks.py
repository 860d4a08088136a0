"""The leak panel: what could have made the figures too good, each with the number that it rests on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.duplicates import Duplicates, Pair
from pipeline.evaluation import Run
from pipeline.fusing import Fused
from pipeline.posteriors import About
from pipeline.value_evaluation import ValueRun
from pipeline.value_scores import plain

Level = Literal["green", "amber", "red", "grey"]
_STACKINGS: dict[str, Level] = {"nested": "green", "cross-fitted": "amber", "in-sample": "red"}
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


def lights(run: Run | ValueRun, duplicates: Duplicates | None) -> list[Light]:
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


def remarks(run: Fused) -> Iterator[Light]:
    """Yield what else a reader must know."""
    for flag in run.flags:
        name, _, text = flag.partition(": ")
        if name not in _SAID:
            yield Light("amber" if name == "untrained" else "grey", name, "", _sentence(text))


def _subjects(run: Fused) -> Light:
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
        return Light("grey", name, "not looked at", "Nobody looked for clips that are one recording.")
    looked = f"{found.looked_at:,} of {found.clips:,} clips heard"
    if found.leaking:
        return Light(
            "red",
            name,
            f"{_count(found.leaking)} across folds; {looked}",
            f"One recording under two names is trained on and tested: {_named(found.leaking)}. Run "
            "python -m pipeline.duplicates, and mend the manifest.",
        )
    if found.pairs:
        return Light(
            "amber",
            name,
            f"{_count(found.pairs)}; {looked}",
            f"No fold trains on one and tests on the other, but they count twice: {_named(found.pairs)}.",
        )
    if not found.complete or not found.looked_at:
        unheard = f"{len(found.unread):,} clips could not be heard; of the others none is another"
        reason = unheard if found.unread else found.reason or "No file is there twice"
        return Light("grey", name, looked, _sentence(reason))
    return Light(
        "green", name, f"0 pairs; {looked}",
        "No two clips are equal files or have the same sound in their first two minutes.",
    )  # fmt: skip


def _count(pairs: Sequence[Pair]) -> str:
    return "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"


def _named(pairs: Sequence[Pair]) -> str:
    some = ", ".join(f"{p.first} and {p.second} ({p.kind})" for p in pairs[:3])
    return f"{some}, …" if len(pairs) > 3 else some


def _held_out(run: Fused) -> Light:
    inner = sum(any(note.inner_fold >= 0 for note in about.models) for about in run.abouts)
    if not run.trained or run.spec.stacking != "nested":
        return Light(
            "grey",
            "subjects, inner folds",
            f"{inner} of {len(run.abouts)} sources have them",
            "The fusion did not learn from inner folds.",
        )
    train = [fold.train.posteriors for fold in run.rows if fold.train is not None]
    rows = sum(int((~np.isnan(posteriors[:, :, 0])).sum()) for posteriors in train)
    return Light(
        "green",
        "subjects, inner folds",
        f"0 of {rows:,} rows",
        "The fusion learned from rows whose models had seen neither the row's subject nor any test subject.",
    )


def _stacking(run: Run | ValueRun) -> Light:
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
    others = ", ".join(f"{grade} {much}" for grade, much in _others(run))
    return Light(_STACKINGS[run.spec.stacking], "stacking", others or "nothing beside it", text)


def _others(run: Run | ValueRun) -> Iterator[tuple[str, str]]:
    """Yield the other grades, and by how much they differ."""
    if isinstance(run, ValueRun):
        for grade, found in run.beside.items():
            yield grade, f"{found.mean_ccc.value - run.fusion.mean_ccc.value:+.3f} CCC"
        return
    for grade, scores in run.beside.items():
        yield grade, f"{100 * (scores.accuracy_mean - run.fusion.accuracy_mean):+.1f} points"


def _selection(run: Fused) -> Light:
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


def _scalers(run: Fused) -> Light:
    own = [about for about in run.abouts if not about.imported]
    scaled = [about for about in own if about.head.get("scale", "none") != "none"]
    number = f"{len(scaled)} of {len(own)} own heads scale"
    text = "Heads that scale do it by the training clips of each fold alone."
    if on := _names(run, lambda about: about.transductive):
        text += f" Besides, features of {', '.join(on)} were z-scored per speaker, test clips included."
        return Light("amber", "scaler scope", number, text)
    if unknown := _names(run, _made_elsewhere):
        text += f" How the values behind {', '.join(unknown)} were scaled is not known here."
        return Light("grey", "scaler scope", number, text)
    return Light("green", "scaler scope", number, text)


def _transductive(run: Fused) -> Light:
    on = _names(run, lambda about: about.transductive)
    share = f"{len(on)} of {len(run.abouts)} sources"
    name = "transductive options"
    if on:
        text = (
            f"Features of {', '.join(on)} were z-scored per speaker over all clips of that speaker, test "
            "clips included; no labels were used."
        )
        return Light("amber", name, share, text)
    if unknown := _names(run, _made_elsewhere):
        text = f"None was used here; what was done to the values behind {', '.join(unknown)} is not known."
        return Light("grey", name, share, text)
    return Light("green", name, share, "No test clip had a part in how another one was read.")


def _control(run: Run | ValueRun) -> Iterator[Light]:
    if run.control is None:
        return
    by_chance = run.control.by_chance
    if isinstance(run, ValueRun):
        what, found = "values", run.control.ccc
        error = 1 / np.sqrt(len(run.fusion.prediction))  # of a correlation of what has nothing in common
        number = f"CCC {plain(found)}, by chance {plain(by_chance)}"
    else:
        what, found = "labels", run.control.accuracy
        error = np.sqrt(by_chance * (1 - by_chance) / int(run.fusion.confusion.sum()))
        number = f"{100 * found:.1f} %, by chance {100 * by_chance:.1f} %"
    far = found > by_chance + _FAR * error
    text = f"With {what} exchanged among the clips of each subject, the same fusion"
    if far:
        text += " does far better than chance: it knows the answers."
    else:
        text += " falls to chance. This looks at the fusion alone: heads were not trained again."
    yield Light("red" if far else "green", f"exchanged {what}", number, text)


def _made_elsewhere(about: About) -> bool:
    """Whether a source rests on values that were not made here."""
    found = about.features["identity"]
    identities = found if isinstance(found, list) else [found]
    return bool(about.imported) or any(i.get("extractor") == "table" for i in identities)


def _names(run: Fused, having: Callable[[About], bool]) -> list[str]:
    return [about.source for about in run.abouts if having(about)]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
