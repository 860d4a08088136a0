from itertools import combinations

import pytest

from manifests import PUBLISHED

CREMA_D = {name: split for name, split in PUBLISHED.items() if split.corpus == "CREMA-D"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_held_out_actors_belong_to_the_corpus_and_are_held_out_once(name: str) -> None:
    split = PUBLISHED[name]
    held = [actor for part in (*split.tests, split.development) for actor in part]
    assert len(held) == len(set(held))
    assert set(held) <= set(split.actors)


def test_folds_of_a_cross_validation_test_every_actor() -> None:
    for split in PUBLISHED.values():
        if not split.development:
            assert {actor for part in split.tests for actor in part} == set(split.actors)


def test_crema_d_has_five_splits_of_14_test_and_14_development_speakers() -> None:
    assert sorted(CREMA_D) == [f"crema-d-{n}" for n in range(1, 6)]
    for split in CREMA_D.values():
        assert [len(split.tests), len(split.tests[0]), len(split.development)] == [1, 14, 14]


def test_crema_d_splits_share_test_speakers_so_they_are_no_cross_validation() -> None:
    tests = [set(split.tests[0]) for split in CREMA_D.values()]
    assert any(a & b for a, b in combinations(tests, 2))


def test_crema_d_rows_that_were_read_in_the_published_files_stand_on_their_side() -> None:
    """Rows of label_consensus_1.csv and label_consensus_5.csv (VAVL), by the numbers of their speakers."""
    assert {1074, 1011, 1059} <= set(CREMA_D["crema-d-1"].tests[0])
    assert {1007, 1038, 1078} <= set(CREMA_D["crema-d-1"].development)
    assert 1026 not in {*CREMA_D["crema-d-1"].tests[0], *CREMA_D["crema-d-1"].development}
    assert {1020, 1080} <= set(CREMA_D["crema-d-5"].tests[0])
    assert {1024, 1054} <= set(CREMA_D["crema-d-5"].development)
