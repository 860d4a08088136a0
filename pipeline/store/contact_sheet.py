"""Contact sheets: what the face detector saw of every subject, on one page."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw

from extractors.faces.crops import decode
from pipeline.files import publish
from pipeline.store.block import ClipKey
from pipeline.store.errors import StoreError
from pipeline.store.reading import FeatureStore

_TILE, _TEXT, _GAP, _COLUMNS = 112, 14, 4, 10
_MOST_STEM = 100  # letters of a file name
_PAPER, _INK, _NOTHING = "#ffffff", "#222222", "#d9d9d9"


@dataclass(frozen=True)
class _Tile:
    """One frame: whose, when, and its face, or b""."""

    clip_id: str
    time: float
    picture: bytes


def write_contact_sheets(
    store: FeatureStore, subjects: Mapping[str, str], out: Path, most: int
) -> Iterator[Path]:
    """Write `<subject>.jpg` for every subject; yield each path.

    Args:
        store: A feature whose rows have pictures.
        subjects: By clip id.
        out: The folder.
        most: Frames on a sheet, spread evenly over all of the subject's.

    Raises:
        StoreError: If no row has a picture, or a shard is damaged.
        WriteError: If the folder cannot be written.
    """
    clips: dict[str, list[ClipKey]] = {}
    for key in store:
        if key[0] in subjects:  # others are no longer in the manifest
            clips.setdefault(subjects[key[0]], []).append(key)
    for subject in sorted(clips):
        tiles, frames, found = _chosen(store, clips[subject], most)
        title = f"{subject}: {len(clips[subject])} clips, {frames} frames, {found} with a face"
        path = out / f"{_stem(subject)}.jpg"
        publish(path, _sheet(title, tiles))
        yield path


def require_pictures(store: FeatureStore, name: str) -> None:
    """Refuse a feature without pictures.

    Raises:
        StoreError: Saying which features have some.
    """
    if not any(store.with_pictures(key).pictures is not None for key in store):
        raise StoreError(
            f"feature {name!r} holds no pictures; name one whose extractor is `faces` and which found a face"
        )


def _stem(subject: str) -> str:
    """Return a name for a file, which no two subjects share."""
    plain = quote(subject, safe=" ")
    if len(plain) <= _MOST_STEM:
        return plain
    return f"{plain[:_MOST_STEM]}-{hashlib.sha256(subject.encode()).hexdigest()[:12]}"


def _chosen(store: FeatureStore, keys: Sequence[ClipKey], most: int) -> tuple[list[_Tile], int, int]:
    """Return frames of some clips, spread evenly; how many there are, and how many have a face."""
    lengths = [len(store[key].values) for key in keys]
    frames = sum(lengths)
    wanted = np.unique(np.linspace(0, frames - 1, min(most, frames)).round().astype(int))
    tiles, first, found = [], 0, 0
    for key, length in zip(keys, lengths, strict=True):
        features = store.with_pictures(key)
        pictures = features.pictures or [b""] * length
        found += sum(map(bool, pictures))
        for row in wanted[(wanted >= first) & (wanted < first + length)] - first:
            tiles.append(_Tile(key[0], float(features.intervals[row, 0]), pictures[row]))
        first += length
    return tiles, frames, found


def _sheet(title: str, tiles: Sequence[_Tile]) -> bytes:
    wide, high = _TILE + _GAP, _TILE + _TEXT + _GAP
    columns = min(_COLUMNS, max(4, len(tiles)))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * wide + _GAP, rows * high + _TEXT + 2 * _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), title, fill=_INK)
    for i, tile in enumerate(tiles):
        left, top = _GAP + i % columns * wide, _TEXT + 2 * _GAP + i // columns * high
        if tile.picture:
            sheet.paste(Image.fromarray(decode(tile.picture)).resize((_TILE, _TILE)), (left, top))
        else:
            pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_NOTHING)
            pen.text((left + 34, top + 50), "no face", fill=_INK)
        pen.text((left, top + _TILE + 1), _caption(tile), fill=_INK)
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=90)
    return file.getvalue()


def _caption(tile: _Tile) -> str:
    """Return as much of the clip's id as fits, from its end, which tells clips apart; and the time."""
    time = f" {tile.time:.1f} s"
    room = 18 - len(time)
    name = tile.clip_id if len(tile.clip_id) <= room else f"…{tile.clip_id[-room + 1 :]}"
    return f"{name}{time}"
