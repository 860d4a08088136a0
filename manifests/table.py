"""One's own corpus: any CSV with a path, a subject and a label."""

import re
from pathlib import Path, PurePosixPath

import pandas as pd

from affectstack import did_you_mean
from manifests.corpus import MEDIA_SUFFIXES, Corpus, Reading
from manifests.manifest import Manifest, ManifestError, read_text_table

_KEPT = ("view", "video", "audio", "text", "start", "end")


class Table(Corpus):
    """A corpus described by a CSV file.

    Each row is one clip. The kind of medium follows from the suffix of its path; further media of the
    same clip may stand in columns named `video`, `audio`, `text`. Columns `view`, `start` and `end` are
    kept as they are, and so is every other column.

    Args:
        table: The CSV file (comma, semicolon or tab; UTF-8).
        path: The column of the media path, relative to the corpus root. May be absent where `video`, `audio` or
            `text` columns are there, or a `clip_id` column names the clips of features made elsewhere.
        subject: The column of the subject.
        label: The column of the label.
        clip_id: The column of the clip's id; None makes one of the path.
    """

    def __init__(
        self,
        table: Path,
        path: str = "path",
        subject: str = "subject",
        label: str = "label",
        clip_id: str | None = None,
    ) -> None:
        self.table = table
        self.path = path
        self.subject = subject
        self.label = label
        self.clip_id = clip_id

    def read(self, root: Path) -> Reading:
        """Read the table; its paths lie below `root`."""
        frame = read_text_table(self.table)
        media = [c for c in ("video", "audio", "text") if c in frame]
        wanted = {"--subject-column": self.subject, "--label-column": self.label}
        if self.clip_id:
            wanted["--clip-id-column"] = self.clip_id
        if not media and not self.clip_id:
            wanted["--path-column"] = self.path
        for option, column in wanted.items():
            if column not in frame:
                raise ManifestError(
                    f"{self.table.name}: missing column {column!r}"
                    f"{did_you_mean(column, frame.columns)}; name another with {option}"
                )
        cells = frame.to_numpy().tolist()
        names = list(frame.columns)
        rows = [self._row(i + 2, dict(zip(names, row, strict=True))) for i, row in enumerate(cells)]
        out = pd.DataFrame(rows)
        if not self.clip_id:
            out["clip_id"] = _ids(out)
        named = {self.subject, self.path, self.clip_id, *_KEPT, "clip_id", "subject"}
        for column in frame.columns:
            if column not in named:
                out[column] = frame[column].to_numpy()
        if self.label not in out:
            out[self.label] = frame[self.label].to_numpy()
        manifest = Manifest(out, source=self.table.name, root=root)
        classes = tuple(sorted(set(manifest.labels(self.label))))
        return Reading(manifest, self.label, classes, {"by": "subject", "k": 5, "seed": 0})

    def _row(self, line: int, row: dict[str, str]) -> dict[str, str]:
        out = {"clip_id": row[self.clip_id] if self.clip_id else "", "subject": row[self.subject]}
        out |= {c: row[c] for c in _KEPT if c in row}
        path = row.get(self.path, "").strip()
        if path:
            suffix = PurePosixPath(path).suffix.lower()
            if suffix not in MEDIA_SUFFIXES:
                raise ManifestError(
                    f"{self.table.name}: line {line}, column {self.path!r}: {path!r} is of no known "
                    f"kind; expected one of {' '.join(MEDIA_SUFFIXES)}, or columns video, audio, text"
                )
            out[MEDIA_SUFFIXES[suffix]] = path
        return out


def _ids(frame: pd.DataFrame) -> list[str]:
    """Make an id of each path: its stem where stems differ, the whole path where they do not."""
    present = [c for c in ("video", "audio", "text") if c in frame]
    paths = [
        PurePosixPath(next((str(r[c]) for c in present if r[c] and not pd.isna(r[c])), ""))
        for r in frame[present].to_dict("records")
    ]
    stems = [_slug(p.stem) for p in paths]
    if len(set(stems)) == len({str(p) for p in paths}):
        ids = stems
    else:
        ids = [_slug(str(p.with_suffix(""))) for p in paths]
    if "start" not in frame:
        return ids
    # Several segments of one file are several takes.
    repeated = pd.Series(ids).duplicated(keep=False)
    starts = frame["start"].fillna("").astype(str)
    return [
        f"{i}_{_slug(s)}" if again and s else i for i, s, again in zip(ids, starts, repeated, strict=True)
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[-128:]
