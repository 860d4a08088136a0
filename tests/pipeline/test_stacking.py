"""Fusers for clips that no fold tests; what folds get is tested by `fuse`."""

from dataclasses import replace

import numpy as np
import pytest
from lab import Lab

from fusion import FUSERS
from fusion.rules import Product
from pipeline import posteriors
from pipeline.experiment import load
from pipeline.posteriors import PosteriorTable
from pipeline.protocol import Protocol
from pipeline.stacking import fit_on_all
from pipeline.training import LeakError


@pytest.fixture
def tables(lab: Lab) -> list[PosteriorTable]:
    assert lab.run("extract") == 0
    assert lab.run("train_heads") == 0
    return [posteriors.read(lab.folder / "posteriors" / f"{name}.parquet") for name in ("one-log", "two-log")]


@pytest.fixture
def protocol(lab: Lab) -> Protocol:
    return Protocol.of(load(lab.folder / "experiment.yaml"))


def test_it_learns_from_the_test_rows_of_all_folds(tables: list[PosteriorTable], protocol: Protocol) -> None:
    fitted = fit_on_all(tables, FUSERS["logpool"](), protocol)
    rows = [
        table.rows[table.rows["split"] == "test"].set_index("clip_id").loc[protocol.labels.index]
        for table in tables
    ]
    P = np.stack([r[posteriors.columns(protocol.classes)].to_numpy(np.float64) for r in rows], axis=1)
    y = np.array([protocol.classes.index(label) for label in protocol.labels])
    by_hand = FUSERS["logpool"]().fit(P, y)
    np.testing.assert_allclose(fitted.predict_proba(P), by_hand.predict_proba(P), atol=1e-6)
    assert (fitted.predict_proba(P).argmax(axis=1) == y).mean() > 0.8


def test_it_learns_from_the_clips_that_all_sources_have(
    tables: list[PosteriorTable], protocol: Protocol
) -> None:
    fewer = replace(tables[1], rows=tables[1].rows.iloc[5:])
    fitted = fit_on_all([tables[0], fewer], FUSERS["logpool"](), protocol)
    assert fitted.predict_proba(np.full((1, 2, 3), 1 / 3)).shape == (1, 3)


def test_rules_learn_nothing(tables: list[PosteriorTable], protocol: Protocol) -> None:
    rule = Product()
    assert fit_on_all(tables, rule, protocol) is rule


def test_rows_of_subjects_that_their_model_had_seen_are_refused(
    tables: list[PosteriorTable], protocol: Protocol
) -> None:
    about = tables[0].about
    everybody = sorted(set(protocol.subjects))
    seen = replace(about, models=[replace(m, seen_subjects=everybody) for m in about.models])
    with pytest.raises(LeakError, match="its model had seen subject"):
        fit_on_all([replace(tables[0], about=seen), tables[1]], FUSERS["logpool"](), protocol)
