from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from lab import Lab

from pipeline.engine.plan import Plan, Takes, make_plan
from pipeline.estimate import (
    FeaturePlan,
    Forecast,
    Trend,
    WavePlan,
    held_against,
    planned_bytes,
    read_forecast,
    size_text,
    time_text,
)
from pipeline.experiment import load
from pipeline.store import identity_sha256


@pytest.mark.parametrize(
    ("seconds", "values", "at_ten"),
    [
        ([1, 2, 4], [2, 4, 8], 20),  # by the second
        ([1, 2, 4], [1, 1, 1], 1),  # the same for every clip
        ([1, 2, 4], [3, 4, 6], 12),  # both
        ([2], [3], 15),
        ([3, 3, 3], [1, 2, 3], 2 / 3 * 10),
        ([1, 2], [5, 5], 5),
        ([0, 0], [0, 0], 0),
    ],
)
def test_the_trend_that_foretells_best_is_taken(
    seconds: Sequence[float], values: Sequence[float], at_ten: float
) -> None:
    assert Trend.through(seconds, values).at(10) == pytest.approx(at_ten)


def test_nothing_costs_less_than_nothing() -> None:
    falling = Trend(-3.0, 1.0)
    assert falling.at(1) == 0
    assert falling.sum([1, 2, 4]) == 1
    assert Trend.through([1, 2, 4], [8, 6, 2]).at(100) > 0  # clips that are longer do not cost less and less


@pytest.fixture
def plans(lab: Lab) -> list[Plan]:
    workspace = load(lab.folder / "experiment.yaml")
    manifest = workspace.manifest()
    return [make_plan(workspace, manifest, Takes(manifest, workspace.root), name) for name in ("one", "two")]


def told(plan: Plan, clips: int = 72) -> FeaturePlan:
    return FeaturePlan(plan.feature, clips, 0, clips, 0.0, 50.0, 2e9, identity_sha256(plan.identity))


def forecast(plans: Sequence[Plan]) -> Forecast:
    return Forecast(2, [WavePlan([told(p) for p in plans], 5.0, 100.0)], 1e9)


def test_a_plan_fits_the_same_work_alone(plans: list[Plan]) -> None:
    made = forecast(plans)
    assert made.wave_of(plans, 2) is made.waves[0]
    assert made.wave_of(plans, 1) is None
    assert made.wave_of(plans[:1], 2) is None
    assert made.wave_of([], 2) is None
    assert made.wave_of([plans[0], replace(plans[1], tasks=plans[1].tasks[:1])], 2) is None
    assert made.wave_of([plans[0], replace(plans[1], identity={"extractor": "table"})], 2) is None


def test_a_feature_that_is_done_does_not_matter(plans: list[Plan]) -> None:
    made = forecast(plans[:1])
    finished = replace(plans[1], tasks=[])
    assert made.wave_of([plans[0], finished], 2) is made.waves[0]


def test_a_plan_is_kept_beside_the_experiment(lab: Lab, plans: list[Plan]) -> None:
    workspace = load(lab.folder / "experiment.yaml")
    assert planned_bytes(workspace) is None
    made = forecast(plans)
    assert made.write(workspace) == lab.folder / "plan.json"
    assert read_forecast(workspace) == made
    assert planned_bytes(workspace) == 4e9
    assert (made.seconds, made.bytes) == (100, 4e9)


def test_what_was_extracted_needs_no_room_any_more(lab: Lab, plans: list[Plan]) -> None:
    workspace = load(lab.folder / "experiment.yaml")
    made = forecast(plans)
    made.write(workspace)
    assert lab.run("extract", "au") == 0
    assert planned_bytes(workspace) == 2e9
    for other in ("0" * 64, ""):
        changed = replace(told(plans[0]), identity_sha256=other)
        Forecast(2, [WavePlan([changed], 0.0, 0.0)], 0.0).write(workspace)
        assert planned_bytes(workspace) == 2e9


def test_what_is_no_longer_wanted_needs_no_room(lab: Lab, plans: list[Plan]) -> None:
    forecast(plans).write(load(lab.folder / "experiment.yaml"))
    lab.document["features"].pop("two")
    lab.document["heads"] = {}
    lab.save()
    assert planned_bytes(load(lab.folder / "experiment.yaml")) == 2e9


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"workers": "two", "waves": [], "memory": 0}'])
def test_a_damaged_plan_is_none(lab: Lab, text: str) -> None:
    Path(lab.folder / "plan.json").write_text(text)
    assert read_forecast(load(lab.folder / "experiment.yaml")) is None


def test_the_run_is_held_against_the_plan(plans: list[Plan]) -> None:
    wave = forecast(plans).waves[0]
    assert held_against(wave, 109.0, {"one": 1_900_000_000}) == [
        "planned 1.7 min, took 1.8 min (+9 %)",
        "one: planned 2.00 GB, wrote 1.90 GB",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(1.23, "1.2 s"), (59.9, "59.9 s"), (90, "1.5 min"), (5400, "1.50 h")]
)
def test_times_in_the_unit_that_suits_them(seconds: float, said: str) -> None:
    assert time_text(seconds) == said


def test_sizes_in_the_unit_that_suits_them() -> None:
    assert [size_text(s) for s in (12_345, 4.2e8)] == ["0.01 MB", "0.42 GB"]
