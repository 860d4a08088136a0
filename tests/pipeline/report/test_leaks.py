from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from lab import Lab

from pipeline.duplicates import Duplicates, Pair
from pipeline.evaluation import Control, Run, _by_chance, evaluate
from pipeline.experiment import load
from pipeline.report.leaks import Light, lights, remarks

NONE = Duplicates([], clips=72, looked_at=72)


def panel(run: Run, duplicates: Duplicates | None = NONE) -> dict[str, Light]:
    return {light.name: light for light in lights(run, duplicates)}


@pytest.fixture
def trained(fused: Lab) -> Lab:
    return fused


def run_of(lab: Lab, *overrides: str) -> Run:
    return evaluate(load(lab.folder / "experiment.yaml", overrides))


def with_about(run: Run, **changes: object) -> Run:
    """The same run, whose first source knows something else about itself."""
    return replace(run, abouts=[replace(run.abouts[0], **changes), *run.abouts[1:]])  # type: ignore[arg-type]


def test_an_honest_run_is_green_with_numbers(trained: Lab) -> None:
    run = run_of(trained)
    own = {"name": "one", "identity": {"extractor": "opensmile"}}  # the lab's are tables
    found = panel(replace(run, abouts=[replace(about, features=own) for about in run.abouts]))
    assert {light.level for light in found.values()} == {"green"}
    assert found["subjects, test"].number == "0 of 144 rows"
    assert found["subjects, inner folds"].number == "0 of 288 rows"  # 2 sources, 3 folds of 48 training clips
    assert found["selection on test"].number == "0 of 2 sources"
    assert all(light.number for light in found.values())


@pytest.mark.parametrize(("grade", "level"), [("in-sample", "red"), ("cross-fitted", "amber")])
def test_other_stackings_are_amber_or_red_with_the_gap(trained: Lab, grade: str, level: str) -> None:
    run = run_of(trained, f"fusion.stacking={grade}")
    light = panel(run)["stacking"]
    assert light.level == level
    gap = 100 * (run.beside["nested"].accuracy_mean - run.fusion.accuracy_mean)
    assert f"nested {gap:+.1f} points" in light.number


@pytest.mark.parametrize(
    ("found", "level", "number", "text"),
    [
        (NONE, "green", "0 pairs; 72 of 72 clips heard", "No two clips are equal files"),
        (None, "grey", "not looked at", "Nobody looked for clips that are one recording"),
        (Duplicates([], 72, 0, reason="no media"), "grey", "0 of 72 clips", "no media."),
        (Duplicates([], 72, 1, unread={"a": "x"}), "grey", "1 of 72 clips", "1 clips could not be heard"),
        (
            Duplicates([Pair("a", "b", "same file", 1.0, ("s0", "s0"))], 72, 70),
            "amber", "1 pair; 70 of 72", "count twice: a and b (same file).",
        ),
        (
            Duplicates([Pair("a", "b", "same sound", 1.0, ("s0", "s1"), ())], 72, 72),
            "amber", "1 pair; 72 of 72", "No fold trains on one and tests on the other",
        ),
        (
            Duplicates([Pair("a", "b", "same sound", 0.99, ("s0", "s1"), (2,))] * 4, 72, 72),
            "red", "4 pairs across folds; 72 of 72", "a and b (same sound), a and b (same sound), …. Run",
        ),
    ],
)  # fmt: skip
def test_clips_that_are_one_recording(
    trained: Lab, found: Duplicates | None, level: str, number: str, text: str
) -> None:
    light = panel(run_of(trained), found)["one recording twice"]
    assert light.level == level
    assert light.number.startswith(number)
    assert text in light.sentence


def test_rules_have_nothing_to_leak(trained: Lab) -> None:
    found = panel(run_of(trained, "fusion.method=mean"))
    assert found["stacking"].level == "green"
    assert found["subjects, inner folds"].level == "grey"
    assert "exchanged labels" not in found


@pytest.mark.parametrize(
    ("fact", "name", "level", "text"),
    [
        ({"claimed": True}, "subjects, test", "amber", "That the models of one-log had not seen"),
        ({"selected_on_test": True}, "selection on test", "red", "The models of one-log were chosen"),
        ({"imported": "csv"}, "selection on test", "grey", "imported models of one-log"),
        ({"imported": "csv"}, "scaler scope", "grey", "the values behind one-log, two-log were scaled"),
        ({"imported": "csv"}, "transductive options", "grey", "the values behind one-log, two-log is not"),
        ({"transductive": True}, "transductive options", "amber", "Features of one-log were z-scored"),
        ({"transductive": True}, "scaler scope", "amber", "features of one-log were z-scored per speaker"),
    ],
)
def test_what_a_source_knows_about_itself_sets_a_light(
    trained: Lab, fact: dict[str, object], name: str, level: str, text: str
) -> None:
    light = panel(with_about(run_of(trained), **fact))[name]
    assert (light.level, text in light.sentence) == (level, True)
    assert light.number.startswith(("1 of 2", "1 of 1", "2 of 2", "0 of 2"))


def test_a_control_far_from_chance_is_red(trained: Lab) -> None:
    run = run_of(trained)
    assert run.control is not None
    assert panel(replace(run, control=Control(0.9, 0.4)))["exchanged labels"].level == "red"


def test_knowing_what_a_subject_has_most_of_is_no_leak(trained: Lab) -> None:
    """Decisions that follow each subject's classes are right more often than the commonest class is."""
    run = run_of(trained)
    assert panel(replace(run, control=Control(0.8, 0.79)))["exchanged labels"].level == "green"
    owners = run.protocol.subjects
    classes = sorted(set(owners))
    protocol = replace(run.protocol, classes=classes, labels=owners)  # every subject has a class of its own
    sure = np.eye(len(classes))
    folds = [replace(f, fused=sure[[classes.index(owners[c]) for c in f.clip_ids]]) for f in run.folds]
    assert _by_chance(folds, protocol) == pytest.approx(1.0)
    half = owners.where([clip.endswith(("-0", "-1")) for clip in owners.index], "nobody")
    assert _by_chance(folds, replace(protocol, labels=half)) == pytest.approx(0.5)


def test_other_flags_are_remarks(lab: Lab, change: Callable[..., None]) -> None:
    change("features.none", {"modality": "video", "extractor": "fake"})
    change("heads.none-log", {"features": "none", "head": "logistic"})
    lab.all_stages()
    found = list(remarks(run_of(lab)))
    assert [(r.level, r.name) for r in found] == [("amber", "untrained")]
    assert found[0].sentence.endswith(".")


def test_a_flag_that_has_a_light_is_not_said_twice(trained: Lab) -> None:
    assert list(remarks(run_of(trained, "fusion.stacking=in-sample"))) == []
