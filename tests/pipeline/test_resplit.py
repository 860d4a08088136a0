import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lab import Lab

from pipeline.experiment import load
from pipeline.redrawing import Redrawing, Row
from pipeline.resplit import means, places, single_folds

SYSTEMS = ["one-log", "two-log", "mean", "product"]


@pytest.fixture
def extracted(lab: Lab) -> Lab:
    assert lab.run("extract") == 0, lab.err
    return lab


def table(lab: Lab) -> pd.DataFrame:
    return pd.read_csv(lab.folder / "resplit/experiment.csv")


def resplit(lab: Lab, *args: str, code: int = 0) -> str:
    """Run the command on two draws, or as many as are named, in one process."""
    times = () if "--times" in args else ("--times", "2")
    assert lab.run("resplit", "--workers", "1", *times, *args) == code, lab.err
    return lab.out


def test_a_draw_is_what_the_stages_make_of_its_folds(extracted: Lab, change: Callable[..., None]) -> None:
    """The experiment's own folds have seed 0, so draws begin with 1; those of 2 are those of 1."""
    out = resplit(extracted, "--fusion")
    assert "2 heads on 3 splits, 2 of them drawn with 3 folds; 0 of 3 are there" in out
    found = table(extracted).set_index(["split", "system"])
    assert set(found.index.get_level_values("split")) == {f"3 folds by subject, seed {s}" for s in (0, 1, 3)}
    for seed in (0, 3):
        change("folds", {"by": "subject", "k": 3, "seed": seed})
        assert extracted.run("train_heads") == 0
        for method, system in (("logpool", "logpool, nested"), ("mean", "mean")):
            assert extracted.run("fuse", "--set", f"fusion.method={method}") == 0
            metrics = json.loads((extracted.folder / "reports/latest/metrics.json").read_text())
            scores = {**metrics["sources"], system: metrics["fusion"]}
            for name, expected in scores.items():
                row = found.loc[(f"3 folds by subject, seed {seed}", name)]
                assert [float(a) for a in row["accuracy_folds"].split()] == expected["accuracy_folds"]
                assert row["accuracy_mean"] == pytest.approx(expected["accuracy_mean"])
                assert row["uar"] == pytest.approx(expected["uar"])


def test_nothing_but_the_table_is_written(extracted: Lab) -> None:
    before = set(extracted.folder.iterdir())
    resplit(extracted)
    assert {p.name for p in set(extracted.folder.iterdir()) - before} == {"resplit"}


def test_more_draws_go_on_from_there(extracted: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    resplit(extracted)
    first = table(extracted)
    assert "3 of 5 are there" in resplit(extracted, "--times", "4")
    more = table(extracted)
    pd.testing.assert_frame_equal(more[: len(first)], first)
    assert len(more) == 5 * len(SYSTEMS)
    monkeypatch.setattr("pipeline.redrawing.held_out_table", None)
    assert "5 of 5 are there" in resplit(extracted, "--times", "4")


def test_what_was_finished_stays_when_it_is_interrupted(
    extracted: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import redrawing

    calls = []
    really = redrawing.held_out_table

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:  # in the second split of two heads
            raise KeyboardInterrupt
        return really(*args)

    monkeypatch.setattr(redrawing, "held_out_table", interrupted)
    resplit(extracted, code=130)
    monkeypatch.undo()
    monkeypatch.chdir(extracted.folder)
    extracted.monkeypatch = monkeypatch
    assert table(extracted)["system"].tolist() == SYSTEMS
    assert "1 of 3 are there" in resplit(extracted)


def test_other_settings_are_trained_anew_and_replace_the_old(
    extracted: Lab, change: Callable[..., None]
) -> None:
    resplit(extracted)
    first = table(extracted)
    change("heads.one-log.C", 0.001)
    assert "0 of 3 are there" in resplit(extracted)
    again = table(extracted)
    assert len(again) == len(first)
    both = first.merge(again, on=["split", "system"])
    same = both["fingerprint_x"] == both["fingerprint_y"]
    assert set(both[same]["system"]) == {"two-log"}


def test_no_row_of_other_settings_stays(extracted: Lab, change: Callable[..., None]) -> None:
    resplit(extracted, "--times", "4")
    change("heads.one-log.C", 0.001)
    resplit(extracted)
    counts = table(extracted)["system"].value_counts().to_dict()
    assert counts == {"one-log": 3, "two-log": 5, "mean": 3, "product": 3}


def test_draws_with_the_fusion_serve_without_it(extracted: Lab) -> None:
    assert "0 of 3 are there" in resplit(extracted, "--fusion")
    assert "3 of 3 are there" in resplit(extracted)


def test_other_features_are_trained_anew(extracted: Lab) -> None:
    resplit(extracted, "--heads", "two-log")
    data = pd.read_csv(extracted.folder / "two.csv")
    data["f0"] += data["f1"]
    data.to_csv(extracted.folder / "two.csv", index=False)
    assert extracted.run("extract") == 0
    assert "0 of 3 are there" in resplit(extracted, "--heads", "two-log")


@pytest.mark.parametrize("damage", ["", "split,system\n", "\0\0", None])
def test_a_damaged_table_is_made_anew(extracted: Lab, damage: str | None) -> None:
    resplit(extracted, "--heads", "two-log")
    path = extracted.folder / "resplit/experiment.csv"
    whole = path.read_text()
    path.write_text(whole.replace("0.", "x.") if damage is None else damage)
    assert "0 of 3 are there" in resplit(extracted, "--heads", "two-log")
    assert path.read_text() == whole


def test_chosen_heads_alone(extracted: Lab) -> None:
    resplit(extracted, "--heads", "two-log")
    assert table(extracted)["system"].unique().tolist() == ["two-log"]  # and one source has nothing to fuse
    resplit(extracted, "--heads", "one-log")
    assert set(table(extracted)["system"]) == {"two-log", "one-log"}  # what other heads did is kept
    assert resplit(extracted, "--heads", "three", code=1) == ""
    assert "has no head 'three'" in extracted.err


def test_splits_are_placed_among_draws(extracted: Lab) -> None:
    manifest = pd.read_csv(extracted.folder / "manifest.csv")
    manifest["house"] = [{"s0": "a", "s1": "a"}.get(s, "b") for s in manifest["subject"]]
    manifest.to_csv(extracted.folder / "manifest.csv", index=False)
    out = resplit(extracted, "--split", "loso", "--split", "house", "--times", "4")
    assert "column 'house'" in out
    redrawing = Redrawing(load(extracted.folder / "experiment.yaml"), 4, splits=["loso", "house"])
    found = {(p.split.name, p.system): p for p in places(redrawing)}
    assert len(found) == 3 * len(SYSTEMS)
    draws = means(redrawing.draws()["one-log"])
    place = found["leave-one-subject-out", "one-log"]
    below, equal = (draws < place.accuracy).sum(), (draws == place.accuracy).sum()
    assert place.percentile == pytest.approx(100 * (below + equal / 2) / 4)
    assert not place.single


def test_a_split_of_one_fold_is_compared_with_single_folds(
    extracted: Lab, change: Callable[..., None]
) -> None:
    """The one fold of katerynaCh tests 4 of 24 actors: a draw has 6 folds."""
    names = {f"s{i}": n for i, n in enumerate(("05", "10", "11", "01", "02", "03"))}
    for file in ("manifest.csv",):
        frame = pd.read_csv(extracted.folder / file, dtype=str)
        frame["subject"] = frame["subject"].map(names)
        frame.to_csv(extracted.folder / file, index=False)
    change("folds", "katerynach")
    resplit(extracted)
    redrawing = Redrawing(load(extracted.folder / "experiment.yaml"), 2)
    assert redrawing.k == 3  # two of six subjects are tested
    by_split = {p.split.name: p for p in places(redrawing) if p.system == "one-log"}
    assert set(by_split) == {"katerynach", "mmer"}
    assert by_split["katerynach"].single
    assert not by_split["mmer"].single
    values = single_folds(redrawing.draws()["one-log"])
    assert len(values) == 6
    accuracy = by_split["katerynach"].accuracy
    expected = 100 * ((values < accuracy).sum() + (values == accuracy).sum() / 2) / 6
    assert by_split["katerynach"].percentile == pytest.approx(expected)


def test_figures_of_the_table_are_those_of_the_draws(extracted: Lab) -> None:
    out = resplit(extracted, "--times", "6")
    frame = table(extracted)
    drawn = frame[(frame["system"] == "product") & ~frame["split"].str.endswith("seed 0")]
    values = 100 * drawn["accuracy_mean"].to_numpy()
    low, middle, high = np.percentile(values, [2.5, 50, 97.5])
    figures = [values.mean(), values.std(ddof=1), low, middle, high, values.min(), values.max()]
    expected = ["product", *(f"{f:.1f}" for f in figures)]
    assert any(line.split()[:8] == expected for line in out.splitlines()), out


def test_transductive_heads_are_marked(extracted: Lab, change: Callable[..., None]) -> None:
    change("heads.two-log.speaker_norm", True)
    out = resplit(extracted)
    assert "two-log (transductive)" in out
    assert "Transductive: features were z-scored per speaker" in out


def test_a_draw_that_cannot_be_trained_on_costs_itself(
    extracted: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affectstack import AffectstackError
    from pipeline import redrawing

    really = redrawing.held_out_table

    def sometimes(workspace: Any, jobs: Any, data: Any, protocol: Any) -> Any:
        if protocol.folds.name.endswith("seed 3"):
            raise AffectstackError("too few subjects")
        return really(workspace, jobs, data, protocol)

    monkeypatch.setattr(redrawing, "held_out_table", sometimes)
    out = resplit(extracted, "--times", "3", code=2)
    assert "failed: 3 folds by subject, seed 3: too few subjects" in extracted.err
    assert "Accuracy of 2 draws" in out
    extracted.monkeypatch.setattr(redrawing, "held_out_table", really)
    assert "3 of 4 are there" in resplit(extracted, "--times", "3")


def test_only_draws_that_all_systems_have_are_compared(
    extracted: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first head three draws are kept, of the second two can be made."""
    from affectstack import AffectstackError
    from pipeline import redrawing

    really = redrawing.held_out_table

    def sometimes(workspace: Any, jobs: Any, data: Any, protocol: Any) -> Any:
        if jobs[0].head == "two-log" and protocol.folds.name.endswith("seed 3"):
            raise AffectstackError("too few subjects")
        return really(workspace, jobs, data, protocol)

    monkeypatch.setattr(redrawing, "held_out_table", sometimes)
    resplit(extracted, "--times", "3", "--heads", "one-log")
    out = resplit(extracted, "--times", "3", "--heads", "one-log,two-log", code=2)
    assert "Accuracy of 2 draws" in out
    assert "Accuracy of their 6 single folds" in out
    rows = {
        line.split()[0]: line for line in out[: out.index("single folds")].splitlines() if " of 2" in line
    }
    assert set(SYSTEMS) <= set(rows)
    assert sum(int(rows[system].split()[-3]) for system in SYSTEMS) == 2
    drawn = Redrawing(load(extracted.folder / "experiment.yaml"), 3).draws()
    for rows_of in drawn.values():
        assert [row.split[-6:] for row in rows_of] == ["seed 1", "seed 4"]


def test_two_runs_at_once_keep_what_both_finish(extracted: Lab) -> None:
    first, second = (Redrawing(load(extracted.folder / "experiment.yaml"), 3) for _ in range(2))
    todo = first.todo()
    assert len(todo) == 4
    assert [problem for _, problem in first.run(todo[:2], 1)] == ["", ""]
    assert [problem for _, problem in second.run(todo[2:], 1)] == ["", ""]
    assert len(table(extracted)) == 4 * len(SYSTEMS)
    assert second.todo() == []


def test_the_mean_of_other_heads_is_another_mean(extracted: Lab, change: Callable[..., None]) -> None:
    change("heads.three", {"features": ["one", "two"], "head": "logistic"})
    resplit(extracted, "--heads", "one-log,two-log")
    assert "0 of 3 are there" in resplit(extracted, "--heads", "one-log,two-log,three")
    assert "3 of 3 are there" in resplit(extracted, "--heads", "two-log,one-log")
    found = table(extracted)
    assert found[found["system"] == "mean"]["heads"].value_counts().to_dict() == {
        "one-log, two-log": 3,
        "one-log, three, two-log": 3,
    }
    change("heads.two-log.C", 0.001)
    resplit(extracted, "--heads", "one-log,two-log,three")
    means_now = table(extracted).query("system == 'mean'")["heads"]
    assert set(means_now) == {"one-log, three, two-log"}  # the mean of two had the old head in it


@pytest.fixture
def few(extracted: Lab) -> Lab:
    """Four subjects, of whom two folds can be made in three ways."""
    manifest = pd.read_csv(extracted.folder / "manifest.csv")
    manifest[manifest["subject"] < "s4"].to_csv(extracted.folder / "manifest.csv", index=False)
    extracted.document["folds"] = {"by": "subject", "k": 2, "seed": 0}
    extracted.save()
    assert extracted.run("extract") == 0, extracted.err
    return extracted


def test_no_partition_is_drawn_twice(few: Lab) -> None:
    said = "nly 3 partitions of 4 subjects into 2 folds were found, one of which is the experiment's own"
    out = resplit(few, "--times", "100")
    assert f"o{said}" in few.err
    assert f"O{said}." in out
    assert "Accuracy of 2 draws of 2 folds" in out
    splits = Redrawing(load(few.folder / "experiment.yaml"), 100).splits
    assert len({frozenset(fold.test for fold in split.folds) for split in splits}) == len(splits) == 3


def test_too_few_partitions_for_a_spread(few: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.splits._BARREN", 1)  # seed 0 draws the experiment's own
    resplit(few, code=1)
    assert "only 1 partitions of 4 subjects into 2 folds were found" in few.err
    assert "so nothing would be known of their spread" in few.err


def test_a_split_that_has_nothing_to_test_costs_itself(lab: Lab) -> None:
    data = pd.read_csv(lab.folder / "two.csv")
    data[~data["clip_id"].str.startswith("s3")].to_csv(lab.folder / "two.csv", index=False)
    assert lab.run("extract", "--max-failed", "50%") == 2
    resplit(lab, "--heads", "two-log", "--split", "loso", code=2)
    assert "failed: leave-one-subject-out: head 'two-log': fold 3 has no test clip with features" in lab.err


def test_features_that_have_seen_anybody_are_refused(extracted: Lab) -> None:
    path = extracted.folder / "features/one.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "seen_subjects": ["s4", "a stranger"]}))
    resplit(extracted, code=1)
    assert "feature 'one' has seen subject s4 in training" in extracted.err
    resplit(extracted, "--heads", "two-log")


def test_features_of_one_fold_each_are_refused(lab: Lab, change: Callable[..., None]) -> None:
    change("finetune", {"speech": {"modality": "audio", "weights": "w"}})
    change("features.emb", {"modality": "audio", "extractor": "wav2vec2", "finetuned": "speech"})
    change("heads.emb-log", {"features": "emb", "head": "logistic"})
    resplit(lab, code=1)
    assert "head 'emb-log' reads 'emb', whose encoder was fine-tuned on the experiment's own folds" in lab.err


def test_draws_that_cannot_differ_are_refused(extracted: Lab, change: Callable[..., None]) -> None:
    change("folds", "loso")
    resplit(extracted, code=1)
    assert "6 folds of 6 subjects are the same in every draw; give fewer with --k" in extracted.err
    resplit(extracted, "--k", "3")


def test_an_experiment_without_heads_says_so(lab: Lab, change: Callable[..., None]) -> None:
    change("heads", {})
    resplit(lab, code=1)
    assert "has no head to train anew" in lab.err


@pytest.mark.slow
def test_processes_find_the_same(extracted: Lab) -> None:
    assert extracted.run("resplit", "--times", "6", "--workers", "2", "--fusion") == 0, extracted.err
    first = table(extracted).sort_values(["split", "system"], ignore_index=True)
    (extracted.folder / "resplit/experiment.csv").unlink()
    resplit(extracted, "--times", "6", "--fusion")
    pd.testing.assert_frame_equal(table(extracted).sort_values(["split", "system"], ignore_index=True), first)


@pytest.mark.parametrize("form", ["md", "tex"])
def test_tables_for_a_paper(extracted: Lab, form: str) -> None:
    out = resplit(extracted, "--format", form)
    assert out.lstrip().startswith({"md": "##", "tex": r"\begin{table}"}[form])
    assert "are there" not in out


def test_the_page_needs_nothing_besides_itself(extracted: Lab) -> None:
    assert "wrote resplit/experiment.csv, out.html" in resplit(extracted, "--html", "out.html")
    text = (extracted.folder / "out.html").read_text()
    assert "<script" not in text
    assert "http://" not in text.replace("http://www.w3.org/", "")
    assert 'role="img"' in text
    assert "3 folds by subject, seed 0 (this experiment)" in text


def test_the_spread_of_rows() -> None:
    rows = [Row("a", "x", "x", 0.5, 0.5, [0.4, 0.6], ""), Row("b", "x", "x", 0.7, 0.7, [0.7, 0.7], "")]
    assert means(rows).tolist() == [0.5, 0.7]
    assert single_folds(rows).tolist() == [0.4, 0.6, 0.7, 0.7]
