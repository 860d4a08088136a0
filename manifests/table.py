"""One's own corpus: any CSV with a path, a subject, and a label or values."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from affectstack import did_you_mean
from manifests.corpus import MEDIA_SUFFIXES, Corpus, Reading
from manifests.ids import ids_of, slug
from manifests.manifest import Manifest, ManifestError, read_text_table

_KEPT = ("view", "video", "audio", "text", "start", "end")


class Table(Corpus):
    """A corpus described by a CSV file.

    Each row is one clip. The kind of medium follows from the suffix of its path; further media of the
    same clip may stand in columns named `video`, `audio`, `text`. Columns `view`, `start` and `end` are
    kept as they are, and so is every other column.

    Args:
        table: The CSV file (comma, semicolon or tab; UTF-8).
        path: The column of the media path, relative to the corpus root. May be absent where `video`,
            `audio` or `text` columns are there, or where `clip_id` names clips of features made elsewhere.
        subject: The column of the subject.
        label: The column of the label; None is "label".
        clip_id: The column of the clip's id; None makes one of the path.
        attributes: Columns of values, where the corpus is about these and not about classes.
    """

    def __init__(
        self,
        table: Path,
        path: str = "path",
        subject: str = "subject",
        label: str | None = None,
        clip_id: str | None = None,
        attributes: Sequence[str] = (),
    ) -> None:
        self.table = table
        self.path = path
        self.subject = subject
        self.label = None if attributes else label or "label"
        self.clip_id = clip_id
        self.attributes = tuple(attributes)
        if attributes and label is not None:
            raise ManifestError(
                f"--label-column {label} and --attribute-columns {','.join(attributes)} exclude each other: "
                "a corpus is read for classes or for values"
            )

    def read(self, root: Path) -> Reading:
        """Read the table; its paths lie below `root`."""
        frame = read_text_table(self.table)
        media = [c for c in ("video", "audio", "text") if c in frame]
        wanted = [("--subject-column", self.subject)]
        wanted += [("--label-column", self.label)] if self.label else []
        wanted += [("--attribute-columns", column) for column in self.attributes]
        if self.clip_id:
            wanted.append(("--clip-id-column", self.clip_id))
        if not media and not self.clip_id:
            wanted.append(("--path-column", self.path))
        for option, column in wanted:
            if column not in frame:
                raise ManifestError(
                    f"{self.table.name}: missing column {column!r}"
                    f"{did_you_mean(column, frame.columns)}; name another with {option}"
                )
        if frame.empty:
            raise ManifestError(f"{self.table.name}: no rows; expected one row per clip")
        lines = frame.attrs["lines"]
        names = list(frame.columns)
        rows = [
            self._row(line, {n: cell.strip() for n, cell in zip(names, row, strict=True)})
            for line, row in zip(lines, frame.to_numpy().tolist(), strict=True)
        ]
        out = pd.DataFrame(rows)
        if not self.clip_id:
            out["clip_id"] = _ids(out)
        named = {self.subject, self.path, self.clip_id, *_KEPT, "clip_id", "subject"}
        for column in frame.columns:
            if column not in named:
                out[column] = frame[column].to_numpy()
        for column in filter(None, (self.label, *self.attributes)):
            if column not in out:
                out[column] = frame[column].to_numpy()
        out.attrs["lines"] = lines
        manifest = Manifest(out, source=self.table.name, root=root)
        folds: dict[str, object] = {"by": "subject", "k": 5, "seed": 0}
        if self.label is None:
            manifest.values(self.attributes)
            return Reading(manifest, "", (), folds, attributes=self.attributes)
        return Reading(manifest, self.label, tuple(sorted(set(manifest.labels(self.label)))), folds)

    def _row(self, line: int, row: dict[str, str]) -> dict[str, str]:
        out = {"clip_id": row[self.clip_id] if self.clip_id else "", "subject": row[self.subject]}
        out |= {c: row[c] for c in _KEPT if c in row}
        path = row.get(self.path, "")
        if path:
            suffix = PurePosixPath(path).suffix.lower()
            if suffix not in MEDIA_SUFFIXES:
                raise ManifestError(
                    f"{self.table.name}: line {line}, column {self.path!r}: {path!r} is of no known "
                    f"kind; expected one of {' '.join(MEDIA_SUFFIXES)}, or columns video, audio, text"
                )
            medium = MEDIA_SUFFIXES[suffix]
            other = out.get(medium, "")
            if other not in ("", path):
                raise ManifestError(
                    f"{self.table.name}: line {line}: column {self.path!r} has {path!r}, "
                    f"column {medium!r} has {other!r}; expected one {medium} per row"
                )
            out[medium] = path
        if not self.clip_id and not any(out.get(c) for c in ("video", "audio", "text")):
            raise ManifestError(
                f"{self.table.name}: line {line}: no media path; give one, or --clip-id-column"
            )
        return out


def _ids(frame: pd.DataFrame) -> list[str]:
    """Make an id of each path: its stem where stems differ, the whole path where they do not."""
    present = [c for c in ("video", "audio", "text") if c in frame]
    paths = [
        PurePosixPath(next((str(r[c]) for c in present if r[c] and not pd.isna(r[c])), ""))
        for r in frame[present].to_dict("records")
    ]
    named = ids_of(str(p) for p in paths)
    ids = [named[str(p)] for p in paths]
    if "start" not in frame:
        return ids
    # Several segments of one file are several takes.
    repeated = pd.Series(ids).duplicated(keep=False)
    starts = frame["start"].fillna("").astype(str)
    return [f"{i}_{slug(s)}" if again and s else i for i, s, again in zip(ids, starts, repeated, strict=True)]
