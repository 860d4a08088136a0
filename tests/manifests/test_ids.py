import re

from hypothesis import given
from hypothesis import strategies as st

from manifests.ids import ids_of

PATHS = st.lists(
    st.text(min_size=1, max_size=30).filter(lambda t: not t.startswith("/")), unique=True, max_size=8
)


@given(PATHS)
def test_every_path_has_an_id_of_its_own_that_a_manifest_takes(paths: list[str]) -> None:
    ids = ids_of(paths)
    assert set(ids) == set(paths)
    assert len(set(ids.values())) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", i) for i in ids.values())


def test_stems_are_ids_where_they_differ_and_paths_where_not() -> None:
    assert ids_of(["a/x.mp4", "b/y.mp4"]) == {"a/x.mp4": "x", "b/y.mp4": "y"}
    assert ids_of(["a/x.mp4", "b/x.mp4"]) == {"a/x.mp4": "a-x", "b/x.mp4": "b-x"}
