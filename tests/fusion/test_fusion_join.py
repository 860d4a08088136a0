"""Sources meet by clip id and class name, never by position."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion import FUSERS, FusionError, Source, join

XY = ["x", "y"]
RAVDESS = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]


def source(name: str, clips: str | list[str], classes: list[str] | None = None) -> Source:
    classes = classes or XY
    rng = np.random.default_rng(len(name))
    return Source(name, list(clips), classes, rng.dirichlet(np.ones(len(classes)), len(clips)))


def knowing(name: str, truth: dict[str, str], clips: list[str], columns: list[str]) -> Source:
    """Return a source that is right and certain, in its own order of clips and classes."""
    rows = [[float(truth[clip] == c) for c in columns] for clip in clips]
    return Source(name, clips, columns, np.array(rows))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], dict[str, str]]:
    """Return classes in some order, and the true class of each clip."""
    classes = draw(st.lists(st.text("abcdef", min_size=1), min_size=2, max_size=6, unique=True))
    clips = draw(st.lists(st.text("0123-_.", min_size=1), min_size=1, max_size=12, unique=True))
    return classes, {clip: draw(st.sampled_from(classes)) for clip in clips}


def names_of(classes: list[str], posteriors: NDArray[np.float64]) -> list[str]:
    return [classes[i] for i in posteriors.argmax(axis=1)]


@given(worlds(), st.data())
def test_identity_posteriors_are_right_in_any_order_of_rows_and_columns(
    world: tuple[list[str], dict[str, str]], data: st.DataObject
) -> None:
    classes, truth = world
    sources = [
        knowing(name, truth, data.draw(st.permutations(list(truth))), data.draw(st.permutations(classes)))
        for name in ("voice", "face", "text")
    ]
    joined = join(sources, classes)
    assert joined.clip_ids == sorted(truth)
    assert joined.posteriors.shape == (len(truth), 3, len(classes))
    expected = [truth[c] for c in joined.clip_ids]
    for s in range(3):
        assert names_of(classes, joined.posteriors[:, s]) == expected
    for method in ("mean", "product"):
        assert names_of(classes, FUSERS[method]().predict_proba(joined.posteriors)) == expected


@given(worlds(), st.data())
def test_drop_keeps_the_intersection_and_lists_the_rest(
    world: tuple[list[str], dict[str, str]], data: st.DataObject
) -> None:
    classes, truth = world
    parts = [data.draw(st.lists(st.sampled_from(sorted(truth)), min_size=1, unique=True)) for _ in range(3)]
    sources = [
        knowing(str(i), truth, clips, data.draw(st.permutations(classes))) for i, clips in enumerate(parts)
    ]
    sets = [set(p) for p in parts]
    common, union = set.intersection(*sets), set.union(*sets)
    if not common:
        with pytest.raises(FusionError, match="no clip is in all of 0, 1, 2"):
            join(sources, classes, missing="drop")
        return
    joined = join(sources, classes, missing="drop")
    assert joined.clip_ids == sorted(common)
    assert joined.dropped == sorted(union - common)
    for s in range(3):
        assert names_of(classes, joined.posteriors[:, s]) == [truth[c] for c in joined.clip_ids]


@given(worlds(), st.data())
def test_a_missing_clip_is_an_error_that_names_it(
    world: tuple[list[str], dict[str, str]], data: st.DataObject
) -> None:
    classes, truth = world
    lost = data.draw(st.sampled_from(sorted(truth)))
    rest = [c for c in truth if c != lost]
    sources = [
        knowing("voice", truth, list(truth), classes),
        Source("face", rest, classes, np.zeros((len(rest), len(classes)))),
    ]
    with pytest.raises(FusionError) as caught:
        join(sources, classes)
    assert f"'face' lacks 1 ({lost})" in str(caught.value)
    assert "--missing drop" in str(caught.value)


def test_alphabetical_logits_come_out_in_ravdess_order() -> None:
    """SYSTEMS 1.2: the index of each ravdess class in alphabetical order is [5, 1, 4, 6, 0, 3, 2, 7]."""
    alpha = Source("wav2vec2", ["clip"], sorted(RAVDESS), np.arange(8.0)[None])
    assert join([alpha], RAVDESS).posteriors[0, 0].tolist() == [5, 1, 4, 6, 0, 3, 2, 7]


def test_nothing_is_dropped_where_all_clips_are_common() -> None:
    assert join([source("a", "12"), source("b", "21")], XY, missing="drop").dropped == []


def test_the_order_of_sources_stays() -> None:
    a, b = source("zebra", "123"), source("ant", "123")
    joined = join([a, b], XY)
    np.testing.assert_array_equal(joined.posteriors[:, 0], a.posteriors)
    np.testing.assert_array_equal(joined.posteriors[:, 1], b.posteriors)


def test_one_source_is_enough() -> None:
    assert join([source("a", "21")], XY).clip_ids == ["1", "2"]


def test_no_sources_are_refused() -> None:
    with pytest.raises(FusionError, match="no sources"):
        join([], XY)


@pytest.mark.parametrize(
    "classes",
    [["x", "z"], ["x"], ["x", "y", "z"], ["x", "x"], ["x", "y", "y"], ["X", "y"]],
    ids=["another", "one less", "one more", "twice", "one twice", "another case"],
)
def test_other_classes_are_refused_naming_both(classes: list[str]) -> None:
    with pytest.raises(FusionError) as caught:
        join([source("good", "12"), source("odd", "12", classes)], XY)
    assert "'odd'" in str(caught.value)
    assert f"has classes {', '.join(classes)}; expected x, y" in str(caught.value)


def test_different_clips_are_refused_naming_the_ids_of_each_side() -> None:
    with pytest.raises(FusionError) as caught:
        join([source("voice", "123"), source("face", "234")], XY)
    assert "'voice' lacks 1 (4)" in str(caught.value)
    assert "'face' lacks 1 (1)" in str(caught.value)
    assert "2 are common" in str(caught.value)


def test_of_many_missing_clips_a_few_are_shown_and_all_counted() -> None:
    with pytest.raises(FusionError, match=r"'b' lacks 8 \(1, 2, 3, 4, 5, …\)"):
        join([source("a", "123456789"), source("b", "9")], XY)


def test_a_clip_that_stands_twice_is_refused_by_name() -> None:
    with pytest.raises(FusionError, match="source 'b' has clip '2' twice"):
        join([source("a", "12"), source("b", "122")], XY)


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_nothing_in_common_is_refused(missing: str) -> None:
    with pytest.raises(FusionError, match=r"0 are common|no clip is in all of a, b"):
        join([source("a", "12"), source("b", "34")], XY, missing)  # type: ignore[arg-type]


def test_the_sources_stay_as_they_were() -> None:
    a = source("a", "21", ["y", "x"])
    before = dataclasses.replace(a, posteriors=a.posteriors.copy())
    join([a], XY).posteriors[:] = -1
    np.testing.assert_array_equal(a.posteriors, before.posteriors)
    assert (a.clip_ids, a.classes) == (before.clip_ids, before.classes)


@pytest.mark.parametrize("shape", [(3, 2), (1, 2), (2, 3)], ids=["more rows", "fewer rows", "more columns"])
def test_posteriors_of_another_shape_than_their_names_are_refused(shape: tuple[int, int]) -> None:
    odd = Source("odd", ["1", "2"], XY, np.full(shape, 0.5))
    with pytest.raises(FusionError, match="odd"):
        join([odd], XY)


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(FusionError, match="same"):
        join([source("same", "123"), source("same", "124")], XY)
