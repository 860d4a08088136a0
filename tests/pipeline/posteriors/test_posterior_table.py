from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import posteriors
from pipeline.posteriors import About, ModelNote, PosteriorError, PosteriorTable
from pipeline.targets import Targets


def table() -> PosteriorTable:
    about = About(
        source="h",
        label="emotion",
        classes=["b", "a"],
        head={"C": 1},
        features={"name": "f"},
        folds="mmer",
        protocol_sha256="p",
        test_subjects=[["s0"], ["s1"]],
        models=[ModelNote(0, -1, ["s1"]), ModelNote(1, -1, ["s0"], ["s0"])],
        transductive=False,
        untrained=True,
        missing_clips=["x"],
    )
    rows = [
        posteriors.rows_of(["c1", "c2"], np.array([[0.2, 0.8], [1, 0]]), Targets(("b", "a")), 0, -1, "test"),
        posteriors.rows_of(["c3"], np.array([[0.5, 0.5]]), Targets(("b", "a")), 0, 2, "oof"),
    ]
    return PosteriorTable(pd.concat(rows, ignore_index=True), about)


def test_a_table_comes_back_with_all_it_knows(tmp_path: Path) -> None:
    posteriors.write(tmp_path / "h.parquet", table())
    back = posteriors.read(tmp_path / "h.parquet")
    assert back.about == table().about
    pd.testing.assert_frame_equal(back.rows, table().rows, check_dtype=False)
    clips, values = back.part("test", 0)
    assert clips == ["c1", "c2"]
    assert values.tolist() == [[0.2, 0.8], [1, 0]]
    assert back.part("oof", 1)[0] == []


def test_the_columns_are_the_documented_ones() -> None:
    assert list(table().rows.columns) == ["clip_id", "outer_fold", "inner_fold", "split", "p:b", "p:a"]


def test_the_same_table_is_the_same_bytes(tmp_path: Path) -> None:
    posteriors.write(tmp_path / "a.parquet", table())
    posteriors.write(tmp_path / "b.parquet", table())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_files_that_are_no_posterior_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(PosteriorError, match=r"text\.parquet: not a readable parquet file"):
        posteriors.read(tmp_path / "text.parquet")
    table().rows.to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(PosteriorError, match="carries no class names"):
        posteriors.read(tmp_path / "bare.parquet")
    broken = replace(table(), rows=table().rows.drop(columns="p:a"))
    posteriors.write(tmp_path / "broken.parquet", broken)
    with pytest.raises(PosteriorError, match="missing column 'p:a'"):
        posteriors.read(tmp_path / "broken.parquet")
