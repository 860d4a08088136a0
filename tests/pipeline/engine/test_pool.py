import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_lab import alive, children, failure, job, takes, until
from stand_ins import (
    Doer,
    SlowToStart,
    Stand,
    leave,
    len_of_id,
    row,
    slow_and_silent,
    slow_but_alive,
    slow_first,
    threads,
)

from extractors import Extractor
from extractors.fake import Fake
from pipeline.engine import pool as pool_module
from pipeline.engine.messages import Cut, Item, Job, Limits, Setup, Whole
from pipeline.engine.pool import DecoderPool


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """No test leaves a process or a thread of the pool behind."""
    before = children()
    yield
    assert children() <= before
    assert not [t for t in threading.enumerate() if t.name == "decoders"]


def pool_of(workers: int = 1, seconds: float = 60.0, memory: int = 0, **extractors: Extractor) -> DecoderPool:
    return DecoderPool(Setup(extractors, memory), workers, Limits(seconds, memory))


def everything(pool: DecoderPool, jobs: list[Job]) -> list[tuple[Job, list[Item]]]:
    return [(job, list(items)) for job, items in pool.stream(jobs)]


def test_clips_come_in_order_though_later_ones_finish_first() -> None:
    with pool_of(2, x=Doer(slow_first)) as pool:
        done = everything(pool, [job(i) for i in range(6)])
    assert [j.position for j, _ in done] == list(range(6))
    ends = []
    for _, items in done:
        (item,) = items
        assert isinstance(item, Whole)
        ends.append(float(item.features.values[0, 0]))
    assert max(ends[1:5]) < ends[0]


def test_no_jobs_are_no_items() -> None:
    with pool_of(x=Doer(slow_first)) as pool:
        assert everything(pool, []) == []


def test_a_pool_serves_one_stream_after_the_other() -> None:
    with pool_of(x=Fake(worker=True)) as pool:
        first = children()
        for _ in range(3):
            assert len(everything(pool, [job(i) for i in range(3)])) == 3
        assert children() == first


def test_a_worker_that_was_replaced_serves_the_next_stream_too() -> None:
    # Linux ends a process with the thread that started it, if the process asks for that.
    with pool_of(x=Fake(worker=True, fault="crash", on=["c0"])) as pool:
        everything(pool, [job(0), job(1)])
        replaced = children()
        time.sleep(0.3)
        assert children() == replaced
        (done,) = everything(pool, [job(2)])
        assert isinstance(done[1][0], Whole)
        assert children() == replaced


def produced(trace: Path) -> int:
    """Wait until no more windows are made; return how many there are."""
    before = -1
    while (now := trace.stat().st_size if trace.exists() else 0) != before or not now:
        before = now
        time.sleep(0.5)
    return before


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever had."""
    (line,) = [s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("VmHWM")]
    return int(line.split()[1]) << 10


@pytest.mark.slow
def test_windows_wait_in_the_worker_when_the_network_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_HELD_BYTES", 64 << 20)
    trace = tmp_path / "trace"
    big = Stand(windows=200, size=1 << 21, trace=str(trace))  # 8 MiB each, 1.6 GiB in all
    with pool_of(x=big) as pool:
        (worker,) = children()
        for _, items in pool.stream([job(0)]):
            taken = [next(items)]
            assert produced(trace) <= 1 + 8 + 3  # taken, held, and on their way
            taken += [next(items) for _ in range(20)]
            assert produced(trace) <= 21 + 8 + 3
            assert peak_bytes(worker) < 300 << 20
            numbers = [t.window.data[0] for t in (*taken, *items) if isinstance(t, Cut)]
        assert numbers == list(range(200))
        assert peak_bytes(worker) < 300 << 20


@pytest.mark.slow
def test_clips_whose_turn_it_is_not_cannot_keep_out_the_one_whose_turn_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_HELD_BYTES", 1 << 20)
    late = Stand(windows=6, size=1 << 18)
    with pool_of(2, x=Doer(slow_first), y=late) as pool:
        jobs = [Job(0, job(0).take, ("x", "y")), *(job(i, "y") for i in range(1, 5))]
        done = everything(pool, jobs)
    assert [len(items) for _, items in done] == [7, 6, 6, 6, 6]


def test_pictures_count_as_what_waits() -> None:
    with_pictures = replace(row(1.0, 2.0), pictures=(b"12345",))
    assert pool_module._size(Whole("x", with_pictures)) == 8 + 5
    assert pool_module._size(Whole("x", row(1.0))) == 4


def test_signs_of_life_keep_a_clip_that_takes_long() -> None:
    with pool_of(seconds=2.0, x=Doer(slow_but_alive)) as pool:
        ((_, items),) = everything(pool, [job(0)])
    assert [type(i) for i in items] == [Whole]  # and nobody else hears of them
    with pool_of(seconds=2.0, x=Doer(slow_and_silent)) as pool:
        ((_, items),) = everything(pool, [job(0)])
    assert failure(items).type == "TimeLimitError"


def test_waiting_for_the_network_is_no_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_HELD_BYTES", 1)
    with pool_of(seconds=0.4, x=Stand(windows=4, size=1 << 20)) as pool:
        for _, items in pool.stream([job(0)]):
            kinds = []
            for item in items:
                time.sleep(0.7)
                kinds.append(type(item))
    assert kinds == [Cut] * 4


def test_a_run_that_was_stopped_for_a_while_blames_no_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = pool_module.wait, []

    def stopped_once(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) != 3:
            return real(*args, **options)
        time.sleep(2.0)
        return []

    monkeypatch.setattr(pool_module, "wait", stopped_once)
    with pool_of(seconds=1.5, x=Doer(slow_first)) as pool:
        done = everything(pool, [job(0), job(1)])
    assert len(calls) > 3
    assert [type(i) for _, items in done for i in items] == [Whole, Whole]


def test_what_hangs_is_ended_and_costs_its_clip() -> None:
    with pool_of(seconds=1.0, x=Fake(worker=True, fault="hang", on=["c1"])) as pool:
        (hung,) = children()
        done = everything(pool, [job(i) for i in range(3)])
        assert not alive(hung)
    assert [type(items[0]) for _, items in done][::2] == [Whole, Whole]
    assert failure(done[1][1]).type == "TimeLimitError"
    assert failure(done[1][1]).message == "no sign of life for 1 s"


def test_what_crashes_costs_its_clip_and_the_signal_is_named() -> None:
    with pool_of(x=Fake(worker=True, fault="crash", on=["c1"])) as pool:
        done = everything(pool, [job(i) for i in range(3)])
    assert failure(done[1][1]).type == "WorkerDiedError"
    assert failure(done[1][1]).message == "the process that decoded it was ended by signal SIGSEGV"
    assert [len(items) for _, items in done] == [1, 1, 1]
    assert [type(items[0]) for _, items in done][::2] == [Whole, Whole]


def test_an_exit_code_is_named() -> None:
    with pool_of(x=Doer(leave)) as pool:
        done = everything(pool, [job(0), job(1)])
    assert failure(done[0][1]).message == "the process that decoded it ended with exit code 7"
    assert isinstance(done[1][1][0], Whole)


def test_a_worker_that_takes_too_much_memory_costs_its_clip() -> None:
    greedy = Fake(worker=True, rows=25_000_000, dim=8)  # 1.6 GB of float64 before they are cut down
    with pool_of(memory=1 << 30, x=greedy, y=Fake(worker=True)) as pool:
        done = everything(pool, [job(0, "x"), job(1, "y")])
    assert failure(done[0][1]).type == "LimitExceededError"
    assert isinstance(done[1][1][0], Whole)


def test_only_the_feature_that_ends_the_worker_fails() -> None:
    crash = Fake(worker=True, fault="crash", on=["c1"])
    with pool_of(a=Fake(worker=True), b=crash, c=Fake(worker=True, seed=1)) as pool:
        done = everything(pool, [job(i, "a", "b", "c") for i in range(3)])
    for _, items in done[::2]:
        assert [type(i) for i in items] == [Whole] * 3
    guilty = failure(done[1][1])
    assert (guilty.feature, guilty.type) == ("b", "WorkerDiedError")
    assert sorted(i.feature for i in done[1][1] if isinstance(i, Whole)) == ["a", "c"]


def test_a_feature_that_failed_by_itself_is_not_failed_again_by_a_crash() -> None:
    error = Fake(worker=True, fault="error", on=["c0"])
    with pool_of(a=error, b=Fake(worker=True, fault="crash", on=["c0"])) as pool:
        ((_, items),) = everything(pool, [job(0, "a", "b")])
    assert [(i.feature, i.type) for i in items if not isinstance(i, Cut | Whole)] == [  # type: ignore[union-attr]
        ("a", "DecodeError"),
        ("b", "WorkerDiedError"),
    ]


def test_a_worker_that_dies_idle_is_replaced_and_costs_nothing() -> None:
    with pool_of(x=Fake(worker=True)) as pool:
        everything(pool, [job(0)])
        (idle,) = children()
        os.kill(idle, signal.SIGKILL)
        until(lambda: not alive(idle))
        ((_, items),) = everything(pool, [job(1)])
        assert [type(i) for i in items] == [Whole]
        assert children() != {idle}


def test_workers_that_come_later_get_the_extractors_as_they_were() -> None:
    extractor = Doer(slow_first)
    with pool_of(x=extractor) as pool:
        extractor.network = threading.Lock()  # type: ignore[attr-defined]  # cannot travel
        (idle,) = children()
        os.kill(idle, signal.SIGKILL)
        until(lambda: not alive(idle))
        ((_, items),) = everything(pool, [job(1)])
    assert [type(i) for i in items] == [Whole]


def test_starting_is_no_part_of_the_first_clip() -> None:
    with pool_of(seconds=0.5, x=SlowToStart(len_of_id)) as pool:
        ((_, items),) = everything(pool, [job(0)])
    assert [type(i) for i in items] == [Whole]


@pytest.mark.parametrize("when", ["at once", "decoding", "full", "hanging"])
def test_closing_in_the_middle_ends_every_process_and_does_not_wait(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(pool_module, "_HELD_BYTES", 1 << 20)
    hangs = Fake(worker=True, fault="hang", on=["c0"])
    pool = pool_of(2, x=hangs if when == "hanging" else Stand(windows=1000, size=1 << 20))
    workers = children()
    assert len(workers) == 2
    if when != "at once":
        stream = pool.stream([job(i) for i in range(8)])
        _, items = next(stream)
        if when != "hanging":
            next(items)
        time.sleep(1.0 if when in ("full", "hanging") else 0.0)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 5
    assert not any(map(alive, workers))
    pool.close()  # once more does no harm


def test_an_interrupt_while_the_thread_starts_ends_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), pool_of(x=Fake(worker=True)) as pool:
        next(pool.stream([job(0)]))


def test_an_error_of_the_consumer_ends_every_process() -> None:
    with pytest.raises(ZeroDivisionError), pool_of(2, x=Stand(windows=50, size=1 << 16)) as pool:
        for _, items in pool.stream([job(i) for i in range(8)]):
            for _ in items:
                raise ZeroDivisionError


def test_an_error_of_who_makes_the_jobs_reaches_the_consumer() -> None:
    def jobs() -> Iterator[Job]:
        yield from (job(i) for i in range(20))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), pool_of(x=Fake(worker=True)) as pool:
        for _, items in pool.stream(jobs()):
            list(items)


def test_a_defect_of_the_pool_reaches_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(DecoderPool, "_put", broken)
    with pytest.raises(ZeroDivisionError), pool_of(x=Fake(worker=True)) as pool:
        everything(pool, [job(0)])


def test_workers_compute_on_one_thread_each() -> None:
    with pool_of(x=Doer(threads)) as pool:
        ((_, items),) = everything(pool, [job(0)])
    assert isinstance(items[0], Whole)
    assert items[0].features.values[0, 0] == 3


def test_jobs_are_asked_for_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_AHEAD", 2)
    asked = 0

    def jobs() -> Iterator[Job]:
        nonlocal asked
        for i in range(len(takes(50))):
            asked += 1
            yield job(i)

    with pool_of(x=Fake(worker=True)) as pool:
        for done, (_, items) in enumerate(pool.stream(jobs()), start=1):
            assert asked <= done + 2
            assert len(list(items)) == 1
    assert asked == 50
