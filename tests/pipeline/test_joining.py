from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lab import Lab

from extractors import Features
from pipeline.joining import JoinError, side_by_side


def features(
    rows: int, dim: int, value: float = 0.0, shift: float = 0.0, invalid: Sequence[int] = ()
) -> Features:
    edges = np.arange(rows + 1, dtype=np.float64) + shift
    valid = ~np.isin(np.arange(rows), invalid)
    return Features(np.full((rows, dim), value, np.float32), np.column_stack([edges[:-1], edges[1:]]), valid)


@pytest.mark.parametrize(("dims", "width"), [((2048,) * 3, 6144), ((768,) * 3, 2304), ((2304, 6144), 8448)])
def test_views_and_networks_stand_side_by_side_on_the_shortest_grid(dims: Sequence[int], width: int) -> None:
    parts = [features(7 - i, d, value=i, invalid=[i]) for i, d in enumerate(dims)]
    found = side_by_side(parts)
    rows = 8 - len(dims)
    assert found.values.shape == (rows, width)
    place = 0
    for i, d in enumerate(dims):
        assert (found.values[:, place : place + d] == i).all()
        place += d
    np.testing.assert_array_equal(found.intervals, parts[0].intervals[:rows])
    assert found.valid.tolist() == [k >= len(dims) for k in range(rows)]


def test_rows_of_other_times_are_not_joined() -> None:
    assert len(side_by_side([features(4, 2), features(4, 2, shift=0.4)]).values) == 4
    with pytest.raises(JoinError, match=r"begin up to 0\.60 s apart, at steps of 1\.00 s"):
        side_by_side([features(4, 2), features(4, 2, shift=0.6)])


def test_a_row_of_the_whole_clip_is_not_joined_to_rows_of_frames() -> None:
    whole = replace(features(1, 2), intervals=np.array([[0.0, 30.0]]))
    for parts in ([whole, features(30, 2)], [features(30, 2), whole]):
        with pytest.raises(JoinError, match=r"there is one row of 30\.00 s, and rows of 1\.00 s beside it"):
            side_by_side(parts)
    # Of two cameras one may have caught a window less, and of two networks one may look further.
    assert len(side_by_side([features(1, 2), features(2, 2)]).values) == 1
    longer = replace(features(1, 2), intervals=np.array([[0.0, 1.3]]))
    assert len(side_by_side([longer, features(1, 2)]).values) == 1


@pytest.fixture
def cameras(lab: Lab, change: Callable[..., None]) -> Lab:
    """Two cameras of every take but one, whose features are fake."""
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    both = pd.concat(
        [manifest.assign(view=v, video=v + manifest["clip_id"] + ".mp4") for v in ("front", "left")]
    )
    both.iloc[:-1].to_csv(lab.folder / "manifest.csv", index=False)
    change("features", {"x": {"modality": "video", "extractor": "fake", "dim": 4}})
    change("fusion", {"sources": ["h"]})
    return lab


def test_a_head_reads_its_views_side_by_side(cameras: Lab, change: Callable[..., None]) -> None:
    change("heads", {"h": {"features": "x", "head": "logistic", "views": ["left", "front"]}})
    assert cameras.run("extract") == 0, cameras.err
    assert cameras.run("train_heads") == 0, cameras.err
    assert "1 clips without features" in cameras.out
    why = "feature 'x' has no view 'left' of it (s5-sad-3)"
    assert f"    {why}" in cameras.out
    assert cameras.run("fuse") == 0, cameras.err
    assert f"missing: h lacks 1 clips: {why}" in cameras.out


def test_a_head_that_does_not_say_which_view_is_refused(cameras: Lab, change: Callable[..., None]) -> None:
    change("heads", {"h": {"features": "x", "head": "logistic"}})
    assert cameras.run("extract") == 0
    assert cameras.run("train_heads") == 1
    assert "has several views (front, left); say which of them a head reads, as in `views:" in cameras.err
    change("heads", {"h": {"features": "x", "head": "logistic", "views": ["front", "rear"]}})
    assert cameras.run("train_heads") == 1
    assert "feature 'x': no clip has view 'rear'; see the manifest" in cameras.err
