"""The windows of a recording as a table and as a picture."""

import csv
import io
import re
from collections.abc import Collection
from itertools import chain, count
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pipeline.files import as_text
from pipeline.predicting.prediction import Prediction
from pipeline.report.page import INK, SERIES, SOFT, style


def table(prediction: Prediction, name: str) -> bytes:
    """Return the timeline as CSV: one row per window, with empty cells where no source could be used.

    Args:
        prediction: The recording.
        name: What its owner calls it. Text that a spreadsheet would take for a formula gets an apostrophe.
    """
    names, text = list(prediction.posteriors), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    prefix, label = ("v", []) if prediction.of_values else ("p", ["label"])
    writer.writerow(["file", "start", "end", *label, *(f"{prefix}:{n}" for n in names), "sources"])
    for window in prediction.timeline:
        own = window.posteriors or {}
        writer.writerow(
            [
                as_text(printable(name)),
                f"{window.start:.3f}",
                f"{window.end:.3f}",
                *(as_text(window.label) for _ in label),
                *(f"{own[n]:.6f}" if own else "" for n in names),
                as_text(" ".join(window.sources)),
            ]
        )
    return text.getvalue().encode("utf-8", "backslashreplace")


def plot(prediction: Prediction, name: str) -> bytes:
    """Return the timeline as SVG: each posterior, or value, over time, broken where there is none.

    Args:
        prediction: The recording.
        name: What its owner calls it.
    """
    with style():
        figure = Figure(figsize=(8, 3.4), layout="constrained", facecolor="white")
        axes = figure.subplots()
        lines = []
        for number, label in enumerate(prediction.posteriors):
            colour, dash = SERIES[number % len(SERIES)], ("-", "--", ":")[number // len(SERIES) % 3]
            times, heights = _steps(prediction, label)
            lines += axes.plot(times, heights, color=colour, linestyle=dash, linewidth=1.6)
        axes.set(xlim=(0, prediction.seconds), xlabel="seconds", ylabel="value")
        if not prediction.of_values:
            axes.set(ylim=(0, 1), ylabel="posterior")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=SOFT, alpha=0.25)
        title = axes.set_title("", loc="left", color=INK)
        title.set(text=printable(name), parse_math=False)
        legend = axes.legend(
            lines, ["-"] * len(lines), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
        )
        for text, label in zip(legend.get_texts(), prediction.posteriors, strict=True):
            text.set(text=label, parse_math=False)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def free_name(path: Path, taken: Collection[str]) -> str:
    """Return a plain name for the files of a recording.

    Args:
        path: The recording.
        taken: Names of others, which this one differs from by more than its case.
    """
    lower = {name.lower() for name in taken}
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", path.stem).lstrip(".-") or "recording"
    numbered = (f"{stem}-{number}" for number in count(2))
    return next(name for name in chain([stem], numbered) if name.lower() not in lower)


def printable(text: str) -> str:
    """Return text without what would steer a terminal or break a file."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _steps(prediction: Prediction, label: str) -> tuple[list[float], list[float]]:
    """Return a line through the middles of windows, level over one that stands alone."""
    windows = prediction.timeline
    heights = [w.posteriors[label] if w.posteriors else np.nan for w in windows]
    if len(windows) == 1:
        return [windows[0].start, windows[0].end], heights * 2
    return [(w.start + w.end) / 2 for w in windows], heights
