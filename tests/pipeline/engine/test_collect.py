from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_lab import fingerprint, plan_of
from stand_ins import Doer, Noisy, Stand, row, slow_first

from affectstack import AffectstackError
from extractors import Clip
from extractors.audit import ClipAudit
from extractors.contract import FloatArray, Window
from pipeline.engine.collect import Collector, Made
from pipeline.engine.messages import Audited, Cut, Failed, Item, Stop, Take, Whole
from pipeline.store import FeatureStore, read_record


def collector(
    extractor: Any, tmp_path: Path, todo: tuple[int, ...] = (0, 1), probe: bool = False
) -> Collector:
    """Return the collector of two shards of three clips."""
    return Collector(plan_of(extractor, tmp_path, range(3), range(3, 6)), todo, probe)


def give(to: Collector, clip: int, *items: Item) -> Made | None:
    for item in items:
        to.take(clip, item)
    return to.end(clip, to.plan.takes[clip])


def cuts(extractor: Stand, clip: int) -> list[Item]:
    return [Cut("x", window) for window in extractor.windows(Clip(f"c{clip}"))]


def values(made: Made) -> dict[str, list[list[float]]]:
    plan = made.plan
    store = FeatureStore(plan.folder, [plan.tasks[made.shard].path.name], fingerprint(plan))
    return {key[0]: f.values.tolist() for block in store.blocks() for key, f in block.items()}


def test_a_shard_is_published_when_its_last_clip_ends(tmp_path: Path) -> None:
    whole = Doer(slow_first)
    to = collector(whole, tmp_path)
    results = [give(to, i, Whole("x", row(i))) for i in range(6)]
    assert [r is not None for r in results] == [False, False, True] * 2
    made = results[5]
    assert made is not None
    assert (made.shard, made.record.clips) == (1, [("c3", ""), ("c4", ""), ("c5", "")])
    assert made.record == read_record(made.plan.tasks[1].path)
    assert made.record.planned_sha256 == "p1"
    assert values(made) == {"c3": [[3]], "c4": [[4]], "c5": [[5]]}


def test_only_the_shards_that_are_wanted_are_made(tmp_path: Path) -> None:
    to = collector(Doer(slow_first), tmp_path, todo=(1,))
    made = [give(to, i, Whole("x", row(i))) for i in range(3, 6)][-1]
    assert made is not None
    assert [p.name for p in sorted((tmp_path / "x").iterdir())] == ["shard-00001.h5", "shard-00001.json"]


def test_a_clip_that_failed_is_in_the_record_and_what_comes_later_of_it_is_not(tmp_path: Path) -> None:
    to = collector(Doer(slow_first), tmp_path)
    give(to, 0, Failed("x", "DecodeError", "no"), Whole("x", row(0)), Failed("x", "Other", "later"))
    give(to, 1, Whole("x", row(1)), Failed("x", "WorkerDiedError", "after it was complete"))
    made = give(to, 2)
    assert made is not None
    assert [(f.clip_id, f.type, f.message) for f in made.record.failures] == [
        ("c0", "DecodeError", "no"),
        ("c2", "BadFeaturesError", "the extractor gave nothing for this clip"),
    ]
    assert values(made) == {"c1": [[1]]}


def test_what_concerns_every_clip_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(AffectstackError, match="no program"):
        collector(Doer(slow_first), tmp_path).take(0, Stop("x", "no program"))


def test_batches_cross_the_borders_of_clips_but_not_of_shards(tmp_path: Path) -> None:
    extractor = Stand(windows=3, look_ahead=4)
    to = collector(extractor, tmp_path)
    made = [give(to, i, *cuts(extractor, i)) for i in range(6)]
    batches = [[0, 1, 2, 100], [101, 102, 200, 201], [202]]
    assert extractor.embedded == batches + [[n + 300 for n in b] for b in batches]
    assert made[2] is not None
    assert values(made[2]) == {f"c{c}": [[w, c] for w in range(3)] for c in range(3)}


def test_a_clip_that_fails_in_the_middle_loses_its_rows_and_only_its_rows(tmp_path: Path) -> None:
    extractor = Stand(windows=3, look_ahead=4)
    to = collector(extractor, tmp_path)
    give(to, 0, *cuts(extractor, 0))
    give(to, 1, *cuts(extractor, 1)[:2], Failed("x", "DecodeError", "cut"))
    made = give(to, 2, *cuts(extractor, 2))
    assert made is not None
    assert list(values(made)) == ["c0", "c2"]
    assert [(f.clip_id, f.type) for f in made.record.failures] == [("c1", "DecodeError")]


class Strange(Stand):
    """Gives something else for clip 1."""

    def __init__(self, rows: Any) -> None:
        super().__init__()
        self.rows = rows

    def embed(self, windows: Any) -> list[FloatArray]:
        good = super().embed(windows)
        return [self.rows if w.data[1] == 1 else rows for w, rows in zip(windows, good, strict=True)]


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (np.full((1, 2), np.nan, np.float32), "BadFeaturesError", "value nan in row 0, column 0"),
        (np.full((1, 2), np.inf, np.float32), "BadFeaturesError", "value inf in row 0, column 0"),
        (
            np.zeros((1, 3), np.float32),
            "BadFeaturesError",
            r"values are float32 [3, 3]; expected float32 [T, 2]",
        ),
        (np.zeros((1, 2)), "BadFeaturesError", "values are float64 [3, 2]"),
        (np.empty((0, 2), np.float32), "TooShortError", "the extractor gave no rows"),
    ],
)
def test_a_network_that_breaks_the_contract_fails_that_clip(
    tmp_path: Path, rows: Any, kind: str, message: str
) -> None:
    extractor = Strange(rows)
    to = collector(extractor, tmp_path, probe=True)
    made = [give(to, i, *cuts(extractor, i)) for i in range(3)][-1]
    assert made is not None
    ((clip, found, text),) = [(f.clip_id, f.type, f.message) for f in made.record.failures]
    assert (clip, found) == ("c1", kind)
    assert message in text
    assert list(values(made)) == ["c0", "c2"]


def test_a_clip_without_windows_is_too_short(tmp_path: Path) -> None:
    extractor = Stand()
    to = collector(extractor, tmp_path)
    give(to, 0, *cuts(extractor, 0))
    give(to, 1)
    made = give(to, 2, *cuts(extractor, 2))
    assert made is not None
    assert [(f.clip_id, f.type) for f in made.record.failures] == [("c1", "TooShortError")]


def test_a_network_that_does_not_repeat_itself_ends_the_run_and_is_named(tmp_path: Path) -> None:
    extractor = Noisy()
    to = collector(extractor, tmp_path, probe=True)
    with pytest.raises(AffectstackError, match="feature 'x': two runs over the same windows") as stop:
        give(to, 0, *cuts(extractor, 0))
    assert type(stop.value) is AffectstackError  # no clip's own failure
    assert not (tmp_path / "x").exists()


def test_rows_are_put_in_order_of_time(tmp_path: Path) -> None:
    extractor = Stand(windows=3, look_ahead=3)
    extractor.batches = lambda windows: iter([[2], [0, 1]] if windows else [])  # type: ignore[method-assign]
    to = Collector(plan_of(extractor, tmp_path, range(1)), [0], probe=False)
    made = give(to, 0, *cuts(extractor, 0))
    assert made is not None
    assert values(made) == {"c0": [[0, 0], [1, 0], [2, 0]]}


def test_views_and_subjects_are_kept(tmp_path: Path) -> None:
    extractor = Doer(slow_first, trained_on=frozenset({"c1", "c0"}))
    to = Collector(plan_of(extractor, tmp_path, range(1)), [0], probe=False)
    to.take(0, Whole("x", row(1)))
    made = to.end(0, Take(Clip("c0", view="left"), "", ()))
    assert made is not None
    assert made.record.clips == [("c0", "left")]
    assert made.record.seen_subjects == ["c0", "c1"]


def test_a_window_that_no_memory_holds_fails_its_clip(tmp_path: Path) -> None:
    import torch

    class Small(Stand):
        def embed(self, windows: list[Window]) -> list[FloatArray]:  # type: ignore[override]
            if any(w.data[1] == 1 for w in windows):
                raise torch.OutOfMemoryError("no memory")
            return super().embed(windows)

    extractor = Small(look_ahead=9)
    to = collector(extractor, tmp_path)
    made = [give(to, i, *cuts(extractor, i)) for i in range(3)][-1]
    assert made is not None
    assert [(f.clip_id, f.type) for f in made.record.failures] == [("c1", "LimitExceededError")]
    assert list(values(made)) == ["c0", "c2"]


def test_a_network_whose_work_was_counted_says_how_fast_it_went(tmp_path: Path) -> None:
    extractor = Stand(windows=3)
    extractor.gflop_per_window = lambda: 100.6  # type: ignore[method-assign]
    to = collector(extractor, tmp_path)
    assert to.effort == ""
    give(to, 0, *cuts(extractor, 0))
    assert to._batcher is not None
    to._batcher.seconds = 0.5
    assert to.effort == "3 windows of 100.6 GFLOP, at 604 GFLOP/s"


def test_a_network_whose_work_nobody_counted_says_nothing(tmp_path: Path) -> None:
    extractor = Stand(windows=3)
    to = collector(extractor, tmp_path)
    give(to, 0, *cuts(extractor, 0))
    assert to.effort == ""


def test_the_record_has_the_audits_of_the_clips_that_are_there(tmp_path: Path) -> None:
    to = collector(Doer(slow_first), tmp_path)
    give(to, 0, Whole("x", row(0)), Audited("x", ClipAudit(repeated=1)))
    give(to, 1, Audited("x", ClipAudit(repeated=2)), Failed("x", "DecodeError", "no"))
    made = give(to, 2, Whole("x", row(2)))
    assert made is not None
    assert made.record.audit == {"repeated": [1, None], "partly": [False, None]}
    later = [give(to, i, Whole("x", row(i))) for i in range(3, 6)][-1]
    assert later is not None
    assert later.record.audit == {}
