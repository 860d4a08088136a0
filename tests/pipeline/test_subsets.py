from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from lab import Lab

from pipeline.evaluation import Run, evaluate
from pipeline.experiment import load
from pipeline.subsets import Subset, measure, subsets_of


def run_of(lab: Lab, *overrides: str) -> Run:
    return evaluate(load(lab.folder / "experiment.yaml", overrides))


@pytest.fixture
def trained(fused: Lab) -> Lab:
    return fused


def measured(run: Run) -> dict[tuple[str, ...], Subset]:
    return {s.sources: s for s in measure(run, subsets_of(list(run.sources)))}


def test_every_subset_of_a_few_sources_is_looked_at() -> None:
    assert subsets_of(["a", "b"]) == [(0, 1), (0,), (1,)]
    assert len(subsets_of(list("abcdefgh"))) == 255


def test_of_many_sources_only_small_and_nearly_whole_subsets() -> None:
    sizes = {len(s) for s in subsets_of(list("abcdefghi"))}
    assert sizes == {1, 2, 7, 8, 9}


def test_all_sources_are_the_fusion_itself(trained: Lab) -> None:
    run = run_of(trained)
    whole = measured(run)["one-log", "two-log"]
    assert whole.scores.accuracy_mean == run.fusion.accuracy_mean == whole.uniform
    assert (whole.changed, whole.lost, whole.gained) == (0, 0, 0)


def test_a_subset_is_what_an_experiment_of_only_these_sources_gives(trained: Lab) -> None:
    alone = run_of(trained, "fusion.sources=[one-log]")
    found = measured(run_of(trained))["one-log",]
    assert found.scores.accuracy_folds == alone.fusion.accuracy_folds
    assert found.scores.calibration.nll == pytest.approx(alone.fusion.calibration.nll)


def test_changed_decisions_are_won_or_lost(trained: Lab) -> None:
    run = run_of(trained)
    found = measured(run)["two-log",]
    clips = run.protocol.labels.index
    right, whole = (np.array([s.right[c] for c in clips]) for s in (found.scores, run.fusion))
    assert found.lost == int((whole & ~right).sum()) > 0
    assert found.gained == int((right & ~whole).sum())
    assert found.changed >= found.lost + found.gained


def test_saying_nothing_is_worse_than_being_trained_for_it_or_not(trained: Lab) -> None:
    """With equal posteriors in place of a source, the fusion of all sources decides by the other alone."""
    run = run_of(trained, "fusion.method=mean")
    for s in measured(run).values():
        if len(s.sources) == 1:
            assert s.uniform == pytest.approx(run.sources[s.sources[0]].accuracy_mean)


def test_raw_values_know_no_posterior_that_says_nothing(trained: Lab) -> None:
    found = measured(run_of(trained, "fusion={method: mmer, stacking: cross-fitted}"))
    assert found["one-log",].uniform is None


def test_clips_that_have_no_source_of_a_subset_are_left_out(
    trained: Lab, change: Callable[..., None]
) -> None:
    run = run_of(trained)
    first = run.rows[0]
    first.test.posteriors[0, 0] = np.nan
    rows = [replace(first), *run.rows[1:]]
    found = {s.sources: s for s in measure(replace(run, rows=rows), [(0,)])}
    alone = found["one-log",]
    assert len(alone.scores.right) == 71
    others = [[run.fusion.right[c] for c in f.clip_ids if c != first.test.clip_ids[0]] for f in run.folds]
    assert alone.whole == pytest.approx(np.mean([np.mean(own) for own in others]))


def test_slow_fusers_are_asked_for_fewer_subsets() -> None:
    assert len(subsets_of(list("abcdefg"), few=True)) == 1 + 7 + 21 + 21 + 7
    assert len(subsets_of(list("abcdefg"))) == 127
