"""The decode audit: what containers say about clips, against what was decoded of them.

`extract` writes `audit.csv` beside the shards of every feature that decodes media, one row per clip:

| column | |
|---|---|
| `clip_id`, `view` | the clip |
| `container_frames`, `decoded_frames` | frames by the header, and those that were decoded |
| `repeated` | decoded frames with exactly the picture of the frame before them |
| `missing` | frames that fit into gaps between time stamps; empty where the rate is variable |
| `nominal_rate`, `measured_rate` | frames per second by the header, and by the time stamps |
| `variable_rate` | whether more than a tenth of the steps between time stamps are not the usual one |
| `picture_seconds`, `sound_seconds` | as decoded; by the header what the feature does not read to its end |
| `start_difference` | seconds from the beginning of the picture to that of the sound of the same file |
| `end_difference` | the same of their ends; negative: the sound ends before the picture |
| `remarks` | what is odd about the clip, in words; empty: nothing |

Empty cells are unknown, or of a kind that the feature does not read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd

from affectstack import AffectstackError
from extractors.audit import AUDITED, ClipAudit
from pipeline.features import read_index
from pipeline.files import as_meant, as_text, publish
from pipeline.store import Record
from pipeline.workspace import Workspace

FILE = "audit.csv"
COLUMNS = (
    *("clip_id", "view", "container_frames", "decoded_frames", "repeated", "missing"),
    *("nominal_rate", "measured_rate", "variable_rate", "picture_seconds", "sound_seconds"),
    *("start_difference", "end_difference", "remarks"),
)
_BETWEEN = "; "  # remarks
_BEGINS, _PARTLY = "its time stamps begin at", "partly decoded"
_EXPLAINS = (_BEGINS, _PARTLY)  # figures, and are not odd
_TEXT = ("clip_id", "view", "remarks")
_KINDS = {
    **dict.fromkeys(("container_frames", "decoded_frames", "repeated", "missing"), "Int64"),
    "variable_rate": "boolean",
}

_START_SECONDS = 0.1  # between the beginnings of picture and sound: more is seen (ITU-R BT.1359)
_END_SECONDS = 0.25  # between their ends: encoders round up to whole frames of sound
_REPEATED_SHARE, _FEW = 0.01, 2  # of the frames; one or two may be chance
_SHORT_SHARE, _SHORT_SECONDS = 0.02, 0.25  # by which a decoded stream may differ from its header


@dataclass(frozen=True)
class _Oddity:
    """Something odd about a clip.

    Attributes:
        kind: What it is, for counting: "3 …".
        remark: What it is about this clip.
        seconds: How much, where that is worth saying of the worst clip; 0: it is not.
    """

    kind: str
    remark: str
    seconds: float = 0.0


def write_audit(folder: Path, records: Sequence[Record]) -> str:
    """Publish `audit.csv` beside the shards; nothing is written if no clip was decoded from media.

    Returns:
        What is odd, in a line; "" if nothing is.

    Raises:
        WriteError: If the folder cannot be written.
    """
    keys = [key for record in records if record.audit for key in record.clips]
    if not keys:
        return ""
    audits = [audit for record in records if record.audit for audit in _audits(record)]
    found = [list(_oddities(audit)) for audit in audits]
    rows = [
        [*map(as_text, key), *(getattr(audit, name) for name in COLUMNS[2:-1]), _remarks(audit, own)]
        for key, audit, own in zip(keys, audits, found, strict=True)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(_KINDS)
    publish(folder / FILE, table.to_csv(index=False, lineterminator="\n").encode())
    return _summary(int(odd(table).sum()), found)


def read_audit(workspace: Workspace) -> pd.DataFrame:
    """Read the audits of all features of an experiment.

    Features that are not extracted, or whose extractor decodes no media, have none.

    Args:
        workspace: The experiment.

    Returns:
        One row per feature and clip: `feature`, then the columns above. Counts are `Int64`, `variable_rate`
        is `boolean`, seconds and rates are floats, `clip_id`, `view` and `remarks` text. No rows, but all
        columns, if no feature has an audit.
    """
    found = []
    for name in workspace.experiment.features:
        try:
            path = workspace.folder / read_index(workspace, name).folder / FILE
            table = _read(path)
        except (AffectstackError, OSError, ValueError, KeyError):  # nothing is there, or nothing that is ours
            continue
        table.insert(0, "feature", name)
        found.append(table)
    if not found:
        return _typed(pd.DataFrame(columns=["feature", *COLUMNS]))
    return pd.concat(found, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(BytesIO(path.read_bytes()), dtype=str, keep_default_na=False)
    keys = {name: table[name].map(as_meant) for name in ("clip_id", "view")}
    return _typed(table[list(COLUMNS)].assign(**keys))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Give every column its type; a cell that is no number of its kind is unknown."""
    made = table.copy()
    for name in COLUMNS:
        if name == "variable_rate":
            made[name] = table[name].map({"True": True, "False": False}).astype("boolean")
        elif name not in _TEXT:
            made[name] = pd.to_numeric(table[name], errors="coerce").astype(_KINDS.get(name, "float64"))  # type: ignore[call-overload]
    return made


def odd(audit: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which clips there is something odd about; a remark that explains a figure is not enough.

    Args:
        audit: With the column `remarks`, as `read_audit` gives it.

    Returns:
        For each of its rows.
    """
    parts = audit["remarks"].map(lambda text: [part for part in text.split(_BETWEEN) if part])
    return parts.map(lambda own: not all(part.startswith(_EXPLAINS) for part in own)).astype(bool)


def unaudited(records: Sequence[Record]) -> int:
    """Return how many clips lie in shards that were made before there was an audit; 0 if no shard has one."""
    if not any(record.audit for record in records):
        return 0
    return sum(len(record.ids) for record in records if not record.audit)


def _audits(record: Record) -> Iterator[ClipAudit]:
    columns = {name: column for name, column in record.audit.items() if name in AUDITED}
    for i in range(len(record.ids)):
        known = {name: column[i] for name, column in columns.items()}
        yield ClipAudit(**{k: v for k, v in known.items() if isinstance(v, bool | int | float)})  # type: ignore[arg-type]


def _remarks(audit: ClipAudit, found: Sequence[_Oddity]) -> str:
    words = [oddity.remark for oddity in found]
    if audit.first_time_stamp:
        words.append(f"{_BEGINS} {audit.first_time_stamp:.2f} s, which count as 0")
    if audit.partly:
        words.append(_PARTLY)
    return _BETWEEN.join(words)


def _summary(count: int, found: Sequence[Sequence[_Oddity]]) -> str:
    """Return what is odd about so many clips, of what was found of every clip."""
    if not count:
        return ""
    kinds: dict[str, list[_Oddity]] = {}
    for oddity in (oddity for own in found for oddity in own):
        kinds.setdefault(oddity.kind, []).append(oddity)
    parts = []
    for kind, members in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        worst = max(member.seconds for member in members)
        amount = f" (by {'up to ' * (len(members) > 1)}{worst:.1f} s)" if worst else ""
        parts.append(f"{len(members)} {kind}{amount}")
    return f"{count} of {len(found)} clips: {', '.join(parts)}"


def _oddities(audit: ClipAudit) -> Iterator[_Oddity]:
    for look in _LOOKS:
        yield from look(audit)


def _frames(audit: ClipAudit) -> Iterator[_Oddity]:
    stated, decoded = audit.container_frames, audit.decoded_frames
    if stated is not None and decoded is not None and not audit.partly and stated != decoded:
        yield _Oddity(
            "with another number of frames than the header says", f"{decoded} frames, {stated} by the header"
        )
    if audit.missing:
        yield _Oddity("with frames missing", f"{audit.missing} frames missing between the time stamps")
    if audit.repeated and decoded and audit.repeated > max(_FEW, _REPEATED_SHARE * decoded):
        yield _Oddity("with repeated pictures", f"{audit.repeated} of {decoded} frames repeat the one before")


def _rate(audit: ClipAudit) -> Iterator[_Oddity]:
    if audit.variable_rate:
        steps = "" if audit.shortest_step is None or audit.longest_step is None else (
            f", {1e3 * audit.shortest_step:.1f} to {1e3 * audit.longest_step:.1f} ms from frame to frame"
        )  # fmt: skip
        yield _Oddity("of variable rate", f"variable rate{steps}")
    if audit.back:
        times = f" {audit.back} times" if audit.back > 1 else ""
        yield _Oddity("whose time stamps go back", f"time stamps go back{times}, as where files were joined")


def _ends(audit: ClipAudit) -> Iterator[_Oddity]:
    for verb, seconds, most in (
        ("starts", audit.start_difference, _START_SECONDS),
        ("ends", audit.end_difference, _END_SECONDS),
    ):
        if seconds is not None and abs(seconds) > most:
            side = f"{'before' if seconds < 0 else 'after'} the picture"
            remark = f"the sound {verb} {abs(seconds):.2f} s {side}"
            yield _Oddity(f"whose sound {verb} {side}", remark, abs(seconds))


def _lengths(audit: ClipAudit) -> Iterator[_Oddity]:
    for what, decoded, stated in (
        ("picture", audit.picture_seconds, audit.stated_picture_seconds),
        ("sound", audit.sound_seconds, audit.stated_sound_seconds),
    ):
        if decoded is None or stated is None:
            continue
        if abs(decoded - stated) > max(_SHORT_SECONDS, _SHORT_SHARE * stated):
            yield _Oddity(
                f"whose {what} is not as long as the header says",
                f"{decoded:.2f} s of {what}, {stated:.2f} s by the header",
                abs(decoded - stated),
            )


def _gaps(audit: ClipAudit) -> Iterator[_Oddity]:
    if audit.sound_gaps:
        yield _Oddity(
            "with gaps in the sound",
            f"{audit.sound_gaps:.2f} s of the sound are missing, and were filled with silence",
            audit.sound_gaps,
        )


_LOOKS: tuple[Callable[[ClipAudit], Iterator[_Oddity]], ...] = (_frames, _rate, _ends, _lengths, _gaps)
