import os
from collections.abc import Sequence

import pytest

from pipeline.processes import spread

ME = os.getpid()


def here(number: int) -> tuple[int, bool]:
    return number, os.getpid() == ME


def there(offset: int, number: int) -> tuple[int, int]:
    return number, offset


def test_one_process_does_all_in_order() -> None:
    assert list(spread([3, 1, 2], 1, here, there, 10)) == [(3, True), (1, True), (2, True)]


@pytest.mark.parametrize("tasks", [[], [1]])
def test_what_is_not_worth_a_process(tasks: Sequence[int]) -> None:
    assert list(spread(tasks, 4, here, there, 10)) == [(n, True) for n in tasks]


@pytest.mark.slow
def test_processes_do_every_task_once() -> None:
    import time

    def slowly(number: int) -> tuple[int, int]:
        time.sleep(0.05)  # until the others are there
        return number, 10

    found = list(spread(range(400), 2, slowly, there, 10))
    assert sorted(found) == [(n, 10) for n in range(400)]
