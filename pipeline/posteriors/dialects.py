"""How other people write posteriors: their files, their column orders, their names."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affectstack import did_you_mean
from pipeline.posteriors.table import PosteriorError

Kind = Literal["logits", "probabilities"]

# The two class orders of Luna-Jimenez et al. 2022 (SYSTEMS 1.2), in the names of our RAVDESS reader.
_BY_CODE = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_ALPHABETICAL = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
_SAME = {"fear": "fearful", "surprise": "surprised"}
_TAKE = r"0[123]-(.+)"  # a RAVDESS name without its modality field
_NAN = ("nan", "-nan")  # numbers of a kind; they are refused with the clip's name
_KEYS = ("clip_id", "clip", "name", "video_name", "file", "filename")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)")


@dataclass(frozen=True)
class Part:
    """What one foreign file, or a part of it, says.

    Attributes:
        file: Where it stands.
        fold: The file's own number of the fold; None if it names none.
        split: "test" or "train".
        names: `[N]`, what the file calls the clips.
        values: `[N, K]`.
        labels: `[N]` class names, or None.
    """

    file: Path
    fold: int | None
    split: Literal["test", "train"]
    names: list[str]
    values: NDArray[np.float64]
    labels: list[str] | None = None


@dataclass(frozen=True)
class Foreign:
    """Posteriors as they were found.

    Attributes:
        format: The name of the dialect.
        classes: `[K]`, in the order of the columns.
        kind: What the values are.
        parts: The files.
        name_pattern: A regular expression with one group that finds the clip id inside a name.
        selected_on_test: True if it is known that the test fold chose the models.
        notes: What a user should know.
    """

    format: str
    classes: tuple[str, ...]
    kind: Kind
    parts: list[Part]
    name_pattern: str | None = None
    selected_on_test: bool = False
    notes: tuple[str, ...] = ()


def read_mmer_wav2vec2(folder: Path) -> Foreign:
    """Read `fold<k>/posteriors_{train,test}.csv`: logits, classes in alphabetical order."""
    tests = _runs(folder, "fold*/posteriors_test.csv", up=2)
    parts = []
    for test in tests:
        fold = _number(r"fold(\d+)", test.parent.name, test)
        for split, file in (("test", test), ("train", test.with_name("posteriors_train.csv"))):
            if file.is_file():
                table = _table(file, ";", ["name", "emotion", *_embs()])
                labels = [_ours(e) for e in table["emotion"]]
                parts.append(
                    Part(file, fold, _split(split), table["name"].tolist(), _values(table, file), labels)
                )
    return Foreign("mmer-wav2vec2", _ALPHABETICAL, "logits", parts, _TAKE, selected_on_test=True)


def read_mmer_static(folder: Path) -> Foreign:
    """Read `{train,test}_fold<k>.csv`: probabilities, classes in the order of the RAVDESS code."""
    parts = []
    for test in _runs(folder, "test_fold*.csv", up=1):
        fold = _number(r"fold(\d+)", test.stem, test)
        for split, file in (
            ("test", test),
            ("train", test.with_name(test.name.replace("test_", "train_", 1))),
        ):
            if file.is_file():
                table = _table(file, ";", ["video_name", *_embs()])
                parts.append(
                    Part(file, fold, _split(split), table["video_name"].tolist(), _values(table, file))
                )
    return Foreign("mmer-static", _BY_CODE, "probabilities", parts, _TAKE)


def read_mmer_bilstm(folder: Path) -> Foreign:
    """Read `RAVDESS_AUs-{train,val}--fold_<k>_outof_5.csv`: logits in lists, alphabetical order."""
    parts = []
    for test in _runs(folder, "RAVDESS_AUs-val--fold_*_outof_*.csv", up=1):
        if not re.search(r"_outof_\d+$", test.stem):
            continue  # the side files, which hold the same again
        fold = _number(r"fold_(\d+)_", test.stem, test) - 1  # theirs begin with 1
        for split, file in (
            ("test", test),
            ("train", test.with_name(test.name.replace("-val-", "-train-", 1))),
        ):
            if file.is_file():
                table = _table(file, "\t", ["tag", "y", "posteriors"])
                names = [Path(tag).name.removesuffix(".csv") for tag in table["tag"]]
                values = _lists(table["posteriors"], file)
                # Where y is a number, nobody says in which order.
                labels = None if table["y"].str.contains(r"\d").any() else [_ours(y) for y in table["y"]]
                parts.append(Part(file, fold, _split(split), names, values, labels))
    return Foreign("mmer-bilstm", _ALPHABETICAL, "logits", parts, _TAKE, selected_on_test=True)


def read_csv(
    path: Path,
    classes: Sequence[str],
    label: str,
    key: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> Foreign:
    """Read any table with one column per class, named like the class (`p:happy` or `Happy` will do).

    Columns `fold` or `outer_fold` (theirs), `split` ("test", "train") and the label column are read where
    they exist; without them every row is a test row of the fold that its subject belongs to.

    Args:
        path: A CSV file, or a folder of them.
        classes: The experiment's.
        label: The name of the label column.
        key: The column that names the clip; None takes the first known name for it.
        rename: Their class names to ours, where they differ by more than capitals.

    Raises:
        PosteriorError: If a class has no column.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise PosteriorError(f"{path}: no CSV file in it; expected tables with one column per class")
    parts: list[Part] = []
    left_out = 0
    order: list[str] = []
    for file in files:
        table = _table(file, None, [])
        given = [str(c) for c in table if not str(c).startswith("raw:")]
        spelled = {c: c.removeprefix("p:").strip() for c in given}
        _refuse_twice(file, spelled, classes, rename or {})
        named = {(rename or {}).get(name, name).casefold(): c for c, name in spelled.items()}
        lacking = [c for c in classes if c.casefold() not in named]
        if lacking:
            raise PosteriorError(
                f"{file}: no column named after class {lacking[0]!r}{did_you_mean(lacking[0], named)}; its "
                f"columns are {_first(table)}. Posteriors are read by class name, never by position: "
                f"name the columns {', '.join(classes)}, or say what they mean with --rename THEIRS=OURS"
            )
        columns = [named[c.casefold()] for c in classes]
        found = [c for c in table if c in columns]
        order = order or [classes[columns.index(c)] for c in found]
        column = _key(table, file, key)
        split = pd.Series("test", index=table.index)
        if "split" in table:
            split = table["split"].str.strip().str.lower()
        none = pd.Series("", index=table.index)
        number = next((table[c] for c in ("outer_fold", "fold") if c in table), none)
        for (which, fold), rows in table.groupby([split.rename("split"), number.rename("fold")], sort=True):
            if which not in ("test", "train"):
                left_out += len(rows)
                continue
            values = _floats(rows[[columns[list(classes).index(c)] for c in order]], file)
            labels = rows[label].tolist() if label in rows and label not in columns else None
            own = None if fold == "" else _number(r"(\d+)", str(fold), file)
            parts.append(Part(file, own, _split(str(which)), rows[column].tolist(), values, labels))
    kind, parts, notes = _kind(path, parts)
    if left_out:
        notes = (*notes, f"{left_out} rows that are neither test nor train rows were left out")
    return Foreign("csv", tuple(order), kind, parts, notes=notes)


DIALECTS: dict[str, Callable[[Path], Foreign]] = {
    "mmer-wav2vec2": read_mmer_wav2vec2,
    "mmer-bilstm": read_mmer_bilstm,
    "mmer-static": read_mmer_static,
}


def _runs(folder: Path, pattern: str, up: int) -> list[Path]:
    """Return the files of the one run below a folder."""
    if not folder.is_dir():
        raise PosteriorError(f"{folder}: no such folder")
    files = sorted(folder.rglob(pattern))
    runs = sorted({f.parents[up - 1] for f in files})
    if not files:
        raise PosteriorError(f"{folder}: no {pattern} in it or below; is this another format?")
    if len(runs) > 1:
        shown = ", ".join(r.relative_to(folder).as_posix() for r in runs[:5])
        raise PosteriorError(f"{folder}: {len(runs)} runs below it ({shown}); name one of them")
    return files


def _table(file: Path, separator: str | None, needed: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            file,
            encoding="utf-8-sig",
            sep=separator,
            dtype=str,
            keep_default_na=False,
            engine="python" if separator is None else "c",
        )
    except (OSError, ValueError, csv.Error) as error:
        raise PosteriorError(
            f"{file}: not a readable table ({' '.join(str(error).split())[:160]})"
        ) from error
    missing = [c for c in needed if c not in table]
    if missing:
        raise PosteriorError(
            f"{file}: missing column {', '.join(map(repr, missing[:3]))}; found {_first(table)}. "
            "Is this another format?"
        )
    if table.empty:
        raise PosteriorError(f"{file}: no rows")
    return table


def _first(table: pd.DataFrame) -> str:
    return ", ".join(str(c) for c in list(table)[:12])


def _embs() -> list[str]:
    return [f"embs{i}" for i in range(8)]


def _values(table: pd.DataFrame, file: Path) -> NDArray[np.float64]:
    return _floats(table[_embs()], file)


def _floats(table: pd.DataFrame, file: Path) -> NDArray[np.float64]:
    numbers = table.apply(pd.to_numeric, errors="coerce")
    wrong = numbers.isna() & ~table.apply(lambda cells: cells.str.strip().str.lower().isin(_NAN))
    if wrong.to_numpy().any():
        row, column = (int(i[0]) for i in np.nonzero(wrong.to_numpy()))
        cell, name = table.iloc[row, column], table.columns[column]
        raise PosteriorError(f"{file}: row {row + 1}, column {name!r}: {cell!r} is no number")
    return numbers.to_numpy(dtype=np.float64)


def _lists(cells: pd.Series, file: Path) -> NDArray[np.float64]:
    rows = [[float(n) for n in _NUMBER.findall(cell)] for cell in cells]
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(_ALPHABETICAL)), None)
    if wrong is not None:
        raise PosteriorError(
            f"{file}: row {wrong} has {len(rows[wrong])} posteriors; expected {len(_ALPHABETICAL)}"
        )
    return np.array(rows)


def _number(pattern: str, text: str, file: Path) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise PosteriorError(f"{file}: no fold number in {text!r}")
    return int(found[1])


def _ours(name: str) -> str:
    return _SAME.get(name.lower(), name.lower())


def _split(name: str) -> Literal["test", "train"]:
    return "test" if name == "test" else "train"


def _key(table: pd.DataFrame, file: Path, key: str | None) -> str:
    if key is not None:
        if key not in table:
            raise PosteriorError(f"{file}: no column {key!r}{did_you_mean(key, table.columns)}")
        return key
    found = next((k for k in _KEYS if k in table), None)
    if found is None:
        raise PosteriorError(
            f"{file}: no column that names the clip ({', '.join(_KEYS)}); say which one does with --key"
        )
    return found


def _kind(file: Path, parts: Sequence[Part]) -> tuple[Kind, list[Part], tuple[str, ...]]:
    """Tell what the values are; rounded ones and percentages are brought back to a sum of 1, and said."""
    if not parts:
        return "logits", [], ()
    values = np.concatenate([p.values for p in parts])
    if not (values >= 0).all():  # also where one is NaN, which is refused later
        return "logits", list(parts), ()
    sums = values.sum(axis=1)
    if np.allclose(sums, 1, atol=1e-3):
        return "probabilities", list(parts), ()
    for whole, what in ((1.0, "probabilities"), (100.0, "percentages")):
        if np.allclose(sums, whole, atol=0.05 * whole):
            scaled = [replace(p, values=p.values / p.values.sum(axis=1, keepdims=True)) for p in parts]
            return "probabilities", scaled, (f"rounded {what} were brought to a sum of 1",)
    raise PosteriorError(
        f"{file}: posteriors of {sums.min():.3g} to {sums.max():.3g} in sum, none negative: neither "
        "probabilities, which sum to 1, nor likely logits; give one or the other"
    )


def _refuse_twice(
    file: Path, spelled: Mapping[str, str], classes: Sequence[str], rename: Mapping[str, str]
) -> None:
    """Refuse two columns for one class."""
    meant: dict[str, list[str]] = {}
    for column, name in spelled.items():
        meant.setdefault(rename.get(name, name).casefold(), []).append(column)
    for name in classes:
        if len(found := meant.get(name.casefold(), [])) > 1:
            raise PosteriorError(f"{file}: columns {', '.join(map(repr, found))} are both for class {name!r}")
