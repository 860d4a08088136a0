import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier

from manifests import Fold, Folds, Manifest, ManifestError, make_folds

# Luna-Jimenez et al. 2022 (SYSTEMS 1.3), and Chumachenko et al. 2022 (SYSTEMS 3.8); actors from 1.
MMER = [
    {2, 5, 14, 15, 16},
    {3, 6, 7, 13, 18},
    {10, 11, 12, 19, 20},
    {8, 17, 21, 23, 24},
    {1, 4, 9, 22},
]
ACTORS = range(1, 25)


def of(clips: Mapping[str, int], **columns: Any) -> Manifest:
    """A manifest of so many clips per subject."""
    subjects = [s for s, n in clips.items() for _ in range(n)]
    return Manifest(
        pd.DataFrame({"clip_id": [f"c{i}" for i in range(len(subjects))], "subject": subjects, **columns})
    )


def ravdess(form: str = "{:02d}") -> Manifest:
    return of({form.format(a): 60 for a in ACTORS})


def names(*subjects: int | str) -> frozenset[str]:
    return frozenset(f"{s:02d}" if isinstance(s, int) else s for s in subjects)


def refusal(spec: Any, manifest: Manifest, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        make_folds(spec, manifest, **options)
    return str(caught.value)


# Published splits


def test_mmer_folds_are_the_published_ones() -> None:
    folds = make_folds("mmer", ravdess())
    assert [{int(s) for s in fold.test} for fold in folds] == MMER
    assert [fold.index for fold in folds] == [0, 1, 2, 3, 4]
    assert folds.name == "mmer"


def test_mmer_folds_have_the_published_sizes() -> None:
    manifest = ravdess()
    subjects = manifest.subjects()
    folds = make_folds("mmer", manifest)
    assert [int(subjects.isin(f.test).sum()) for f in folds] == [300, 300, 300, 300, 240]
    assert [int(subjects.isin(f.train).sum()) for f in folds] == [1140, 1140, 1140, 1140, 1200]


@pytest.mark.parametrize("form", ["{}", "{:02d}"])
def test_actors_are_known_with_and_without_a_leading_zero(form: str) -> None:
    folds = make_folds("mmer", ravdess(form))
    assert folds[4].test == {form.format(a) for a in (1, 4, 9, 22)}


def test_mmer_of_some_actors_drops_the_folds_without_any() -> None:
    folds = make_folds("mmer", of({"02": 1, "05": 1, "03": 1, "01": 1, "04": 1}))
    assert [f.test for f in folds] == [names(2, 5), names(3), names(1, 4)]
    assert [f.index for f in folds] == [0, 1, 2]


@pytest.mark.parametrize("split", ["mmer", "katerynach"])
@pytest.mark.parametrize("stranger", ["25", "00", "anna", "\u00b2"])
def test_published_split_refuses_strangers_and_offers_another(split: str, stranger: str) -> None:
    clips = {f"{a:02d}": 1 for a in ACTORS} | {stranger: 1}
    message = refusal(split, of(clips))
    assert f"split {split!r}" in message
    assert f"the manifest has subject {stranger!r}" in message
    assert "{by: subject, k: 5, seed: 0}" in message


def test_at_most_five_strangers_are_named() -> None:
    message = refusal("mmer", of({f"p{i}": 1 for i in range(9)}))
    assert "'p4'." in message
    assert "'p5'" not in message


def test_mmer_of_one_fold_is_refused() -> None:
    assert "mmer gives fewer than 2 folds" in refusal("mmer", of({"02": 1, "05": 1, "14": 1}))


def test_katerynach_is_the_published_split_with_its_own_validation_actors() -> None:
    folds = make_folds("katerynach", ravdess())
    assert len(folds) == 1
    assert folds[0].test == names(5, 10, 16, 19)
    assert folds[0].inner == (names(11, 13, 18, 22),)
    assert folds[0].train == names(*(set(ACTORS) - {5, 10, 16, 19}))


@pytest.mark.parametrize(
    "actors",
    [
        pytest.param([1, 2, 11, 13], id="no test actor"),
        pytest.param([1, 2, 5, 10], id="no validation actor"),
        pytest.param([5, 10, 11, 13], id="nobody to train on"),
    ],
)
def test_katerynach_needs_actors_of_all_three_parts(actors: list[int]) -> None:
    message = refusal("katerynach", of({f"{a:02d}": 1 for a in actors}))
    assert "test actors 5 10 16 19" in message
    assert f"the manifest has {', '.join(f'{a:02d}' for a in actors)}" in message


@pytest.mark.parametrize("number", range(1, 6))
def test_crema_d_splits_have_the_published_sizes(number: int) -> None:
    (fold,) = make_folds(f"crema-d-{number}", of({str(a): 1 for a in range(1001, 1092)}))
    (development,) = fold.inner
    assert (len(fold.train - development), len(development), len(fold.test)) == (63, 14, 14)


def test_crema_d_splits_are_of_crema_d_actors() -> None:
    message = refusal("crema-d-1", of({"1001": 1, "1092": 1}))
    assert (
        "split 'crema-d-1' is made of CREMA-D actors 1001 to 1091; the manifest has subject '1092'" in message
    )


def test_an_unknown_split_that_is_nearly_a_published_one_is_suggested() -> None:
    assert "did you mean 'crema-d-" in refusal("crema-d-6", of({"1001": 1}))


def test_loso_leaves_every_subject_out_once() -> None:
    folds = make_folds("loso", of({"b": 2, "a": 1, "c": 1}))
    assert [f.test for f in folds] == [names("a"), names("b"), names("c")]
    assert [f.train for f in folds] == [names("b", "c"), names("a", "c"), names("a", "b")]


def test_loso_needs_two_subjects() -> None:
    assert "leave-one-subject-out need at least 2 subjects, the manifest has 1" in refusal(
        "loso", of({"a": 9})
    )


# A column


def test_column_numbers_the_held_out_fold_of_each_row() -> None:
    folds = make_folds("fold", of({"a": 2, "b": 1, "c": 1, "d": 1}, fold=["10", "10", "9", "9", "10"]))
    assert [f.test for f in folds] == [names("b", "c"), names("a", "d")]
    assert folds.name == "column 'fold'"


def test_subject_whose_fold_is_empty_only_trains() -> None:
    folds = make_folds("fold", of({"a": 1, "b": 1, "c": 1}, fold=["0", "1", ""]))
    assert [f.test for f in folds] == [names("a"), names("b")]
    assert all("c" in f.train for f in folds)


def test_column_that_puts_a_subject_into_two_folds_is_refused_by_name() -> None:
    message = refusal("fold", of({"a": 2, "b": 1, "c": 1}, fold=["0", "1", "0", "1"]))
    assert (
        "column 'fold' puts subject 'a' into folds '0' and '1'; every subject belongs to one fold" in message
    )


def test_column_with_one_fold_is_refused() -> None:
    assert "column 'fold' gives fewer than 2 folds" in refusal("fold", of({"a": 1, "b": 1}, fold="0"))


def test_column_of_train_development_and_test_is_one_fold_with_the_development_subjects_inside() -> None:
    sides = ["train", "test", "Development", "TEST", "train"]
    folds = make_folds("set", of({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, set=sides))
    assert list(folds) == [Fold(0, names("b", "d"), names("a", "c", "e"), (names("c"),))]
    assert folds.name == "column 'set'"


def test_views_that_disagree_on_the_fold_are_refused() -> None:
    frame = pd.DataFrame(
        {
            "clip_id": ["a", "a", "b", "c", "d"],
            "view": ["l", "r", "", "", ""],
            "subject": ["1", "1", "2", "3", "4"],
            "fold": ["0", "1", "1", "0", "1"],
        }
    )
    assert "puts subject '1' into folds '0' and '1'" in refusal("fold", Manifest(frame))


def test_superscript_digit_names_a_fold_but_counts_none() -> None:
    folds = make_folds("fold", of(dict.fromkeys("abcd", 1), fold=["\u00b2", "1", "1", "\u00b2"]))
    assert [f.test for f in folds] == [names("b", "c"), names("a", "d")]


# Seeded partitions


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mmr", "unknown split 'mmr' (did you mean 'mmer'?)"),
        ("speakr", "unknown split 'speakr' (did you mean 'speaker'?)"),
        ("fold", "unknown split 'fold' (known: "),
        ({"by": "subject", "kk": 5}, "unknown key 'kk' (did you mean 'k'?)"),
        ({"seeds": 1}, "unknown key 'seeds' (did you mean 'seed'?)"),
        ({"by": "clip"}, "by: 'clip' is not supported; folds are made by subject"),
        ({"k": 1}, "k: 1, seed: 0; expected k of 2 or more"),
        ({"k": True}, "expected k of 2 or more"),
        ({"k": "five"}, "k: 'five'"),
        ({"k": 5.0}, "k: 5.0"),
        ({"seed": None}, "seed: None"),
        ({"k": 9}, "9 folds need at least 9 subjects, the manifest has 8"),
    ],
)
def test_split_that_is_not_understood_is_refused(spec: Any, words: str) -> None:
    assert words in refusal(spec, of(dict.fromkeys("abcdefgh", 1), speaker=list("abcdefgh")))


@pytest.mark.parametrize(("spec", "clips"), [("loso", "ab"), ({"k": 2}, "ab"), ({"k": 2}, "abc")])
def test_fold_with_one_subject_to_train_on_is_refused(spec: Any, clips: str) -> None:
    assert "inner folds need at least 2. Use fewer folds or more subjects" in refusal(
        spec, of(dict.fromkeys(clips, 1))
    )


def test_one_inner_fold_is_refused_for_what_it_is() -> None:
    assert "inner_folds is 1; expected at least 2" in refusal("loso", of(dict.fromkeys("abc", 1)), inner=1)


def test_seeded_folds_default_to_five_by_subject_with_seed_zero() -> None:
    manifest = ravdess()
    assert list(make_folds({}, manifest)) == list(make_folds({"by": "subject", "k": 5, "seed": 0}, manifest))


def test_seeded_folds_are_the_same_on_every_machine_and_release() -> None:
    folds = make_folds({"k": 3, "seed": 7}, of(dict.fromkeys("abcdefgh", 2)))
    assert ["".join(sorted(f.test)) for f in folds] == ["cfg", "bde", "ah"]


def test_another_seed_deals_other_folds() -> None:
    assert list(make_folds({"seed": 0}, ravdess())) != list(make_folds({"seed": 1}, ravdess()))


def test_second_camera_changes_no_fold() -> None:
    one = ravdess().frame
    two = pd.concat([one, one[one["subject"] < "05"].assign(view="left")])
    assert list(make_folds({}, Manifest(two))) == list(make_folds({}, Manifest(one)))


def unmistakable(name: str) -> str:
    """What is left of a name without case and Unicode form; a manifest refuses two of the same."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


SUBJECTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=5
)
CLIPS = st.lists(
    st.tuples(SUBJECTS.map(str.strip).filter(bool), st.integers(1, 3)),
    min_size=8,
    max_size=16,
    unique_by=lambda clip: unmistakable(clip[0]),
).map(dict)
LAWS = settings(deadline=None, max_examples=60)


@LAWS
@given(clips=CLIPS, k=st.integers(2, 8), seed=st.integers(0, 2**40), inner=st.integers(2, 6))
def test_every_subject_is_tested_once_and_never_seen_in_its_fold(
    clips: dict[str, int], k: int, seed: int, inner: int
) -> None:
    folds = make_folds({"k": k, "seed": seed}, of(clips), inner=inner)
    assert len(folds) == k
    assert Counter(s for f in folds for s in f.test) == Counter(clips.keys())
    for fold in folds:
        assert fold.test
        assert not fold.test & fold.train
        assert fold.test | fold.train == clips.keys()
        assert len(fold.inner) == min(inner, len(fold.train))
        assert all(fold.inner)
        assert Counter(s for part in fold.inner for s in part) == Counter(fold.train)


@LAWS
@given(clips=CLIPS, k=st.integers(2, 8), seed=st.integers(0, 99))
def test_parts_differ_by_no_more_clips_than_one_subject_has(clips: dict[str, int], k: int, seed: int) -> None:
    sizes = [sum(clips[s] for s in f.test) for f in make_folds({"k": k, "seed": seed}, of(clips))]
    assert max(sizes) - min(sizes) <= max(clips.values())


@LAWS
@given(
    clips=CLIPS, spec=st.sampled_from(["loso", {"k": 3}, "fold"]), shuffle=st.randoms(use_true_random=False)
)
def test_folds_do_not_depend_on_the_order_of_the_rows(clips: dict[str, int], spec: Any, shuffle: Any) -> None:
    number = {s: str(i % 3) for i, s in enumerate(clips)}
    manifest = of(clips, fold=[number[s] for s, n in clips.items() for _ in range(n)])
    order = list(range(len(manifest)))
    shuffle.shuffle(order)
    assert list(make_folds(spec, Manifest(manifest.frame.iloc[order]))) == list(make_folds(spec, manifest))


@LAWS
@given(actors=st.sets(st.integers(1, 24), min_size=3))
def test_published_folds_of_any_actors_never_overlap(actors: set[int]) -> None:
    try:
        folds = make_folds("mmer", of({f"{a:02d}": 1 for a in actors}))
    except ManifestError:
        assert max(len(actors & held) for held in MMER) >= len(actors) - 1
        return
    assert Counter(int(s) for f in folds for s in f.test) == Counter(actors)
    for fold in folds:
        assert not fold.test & fold.train
        assert frozenset().union(*fold.inner) == fold.train


# The proof in the constructor


A, B, C = (frozenset({s}) for s in "abc")


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        pytest.param([Fold(0, A, A | B, ())], "fold 0: both test and train", id="test and train"),
        pytest.param([Fold(0, A, B, ()), Fold(1, A, C, ())], "test of fold 0 and 1", id="two tests"),
        pytest.param([Fold(0, C, A | B, (A, A | B))], "fold 0: two inner folds", id="two inner folds"),
        pytest.param([Fold(0, A, B | C, (A, B))], "inner fold 0 outside fold 0", id="test in an inner fold"),
        pytest.param([Fold(0, B, C, (C, A))], "inner fold 1 outside fold 0", id="inner not in train"),
    ],
)
def test_subject_on_two_sides_is_refused(folds: list[Fold], words: str) -> None:
    with pytest.raises(ManifestError, match="subject 'a' is on two sides") as caught:
        Folds(folds, "mine")
    assert words in str(caught.value)


def test_one_subject_tested_by_two_folds_of_one_number_is_refused() -> None:
    with pytest.raises(ManifestError, match="fold 1 is numbered 0"):
        Folds([Fold(0, A, B, ()), Fold(0, A, B, ())], "mine")


def test_folds_are_a_sequence() -> None:
    first, second = Fold(0, A, B | C, (B, C)), Fold(1, B, A | C, (A, C))
    folds = Folds([first, second], "mine")
    assert (len(folds), folds[1], list(folds), folds.name) == (2, second, [first, second], "mine")


# RELIABILITY case 25: features that only tell who speaks must be worth nothing on new subjects.


def accuracy(X: np.ndarray, y: np.ndarray, tests: list[np.ndarray]) -> float:
    hits = [KNeighborsClassifier(1).fit(X[~held], y[~held]).predict(X[held]) == y[held] for held in tests]
    return float(np.concatenate(hits).mean())


def test_signal_of_the_subject_alone_scores_chance_here_and_would_not_with_folds_by_clip() -> None:
    manifest = of({f"s{i:02d}": 10 for i in range(60)})
    who = manifest.subjects().to_numpy()
    rng = np.random.default_rng(0)
    voice = {s: rng.normal(size=16) for s in sorted(set(who))}
    mood = {s: i % 4 for i, s in enumerate(sorted(voice))}
    X = np.stack([voice[s] for s in who]) + rng.normal(scale=0.01, size=(len(who), 16))
    y = np.array([mood[s] for s in who])
    by_subject = [np.isin(who, list(f.test)) for f in make_folds({}, manifest)]
    by_clip = [np.isin(np.arange(len(y)), t) for _, t in KFold(5, shuffle=True, random_state=0).split(X)]
    majority = np.bincount(y).max() / len(y)
    assert accuracy(X, y, by_subject) <= majority + 0.05
    assert accuracy(X, y, by_clip) > majority + 0.5
