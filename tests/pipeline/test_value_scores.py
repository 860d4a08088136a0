import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import root_mean_squared_error

from affectstack.concordance import concordance
from manifests import Folds
from pipeline.protocol import Protocol
from pipeline.statistics import subject_draws
from pipeline.value_scores import Moments, interval, plain, score_values

OWNERS = np.repeat(list("abcde"), [3, 9, 4, 7, 5])


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(len(OWNERS), 2)) * [1, 30] + [1e4, 0]
    return truth + rng.normal(size=truth.shape) * [1, 20] + [0.5, 3], truth


def protocol(truth: np.ndarray) -> Protocol:
    clips = [f"c{i}" for i in range(len(truth))]
    values = pd.DataFrame(truth, index=clips, columns=["arousal", "valence"])
    return Protocol("", [], pd.Series(dtype=object), pd.Series(OWNERS, clips), Folds([], "none"), values)


def slow(prediction: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return the figures of some clips by the definitions of others."""
    return {
        "ccc": concordance(prediction, truth),
        "rmse": np.array([root_mean_squared_error(truth[:, a], prediction[:, a]) for a in range(2)]),
        "pearson": np.array([pearsonr(prediction[:, a], truth[:, a])[0] for a in range(2)]),
    }


def test_figures_are_those_of_other_libraries() -> None:
    said, truth = data()
    scores = score_values([([f"c{i}" for i in range(28)], said)], protocol(truth))
    expected = slow(said, truth)
    for name, found in (("ccc", scores.ccc), ("rmse", scores.rmse), ("pearson", scores.pearson)):
        np.testing.assert_allclose([e.value for e in found.values()], expected[name], rtol=1e-9)
    assert scores.mean_ccc.value == pytest.approx(expected["ccc"].mean())


def test_draws_are_those_of_a_loop_over_clips() -> None:
    """What is worked out from sums is what the clips give, each as often as its subject is drawn."""
    said, truth = data()
    drawn = subject_draws(5)[:40]
    fast = Moments.of(said, truth, OWNERS.tolist()).figures(drawn)
    for d, times in enumerate(drawn):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(s == OWNERS), n) for s, n in zip("abcde", times, strict=True)]
        )
        for figure, expected in slow(said[rows], truth[rows]).items():
            np.testing.assert_allclose(fast[figure][d], expected, rtol=1e-7, err_msg=figure)


def test_intervals_are_percentiles_of_the_draws() -> None:
    said, truth = data()
    scores = score_values([([f"c{i}" for i in range(28)], said)], protocol(truth))
    fast = Moments.of(said, truth, OWNERS.tolist()).figures(subject_draws(5))
    assert scores.ccc["valence"].interval == pytest.approx(np.percentile(fast["ccc"][:, 1], [2.5, 97.5]))
    low, high = scores.ccc["valence"].interval
    assert low < scores.ccc["valence"].value < high


def test_what_is_constant_has_no_correlation_and_no_agreement() -> None:
    said, truth = data()
    said[:, 0] = 1e4
    scores = score_values([([f"c{i}" for i in range(28)], said)], protocol(truth))
    assert scores.ccc["arousal"].value == 0
    assert scores.ccc["arousal"].interval == (0, 0)
    assert np.isnan(scores.pearson["arousal"].value)
    assert np.isnan(scores.pearson["arousal"].interval).all()
    written = scores.as_json()["attributes"]["arousal"]["pearson"]
    assert written == {"value": None, "subject_interval_95": [None, None]}
    assert plain(scores.pearson["arousal"].value) == "–"


def test_one_subject_has_an_interval_without_width() -> None:
    said, truth = data()
    alone = protocol(truth)
    clips = [f"c{i}" for i in range(3)]
    scores = score_values([(clips, said[:3])], alone)
    assert scores.ccc["arousal"].interval == pytest.approx((scores.ccc["arousal"].value,) * 2)
    assert list(scores.subjects) == ["a"]


def test_folds_and_subjects_are_scored_by_themselves() -> None:
    said, truth = data()
    clips = [f"c{i}" for i in range(28)]
    scores = score_values([(clips[:12], said[:12]), (clips[12:], said[12:])], protocol(truth))
    assert scores.ccc_folds["valence"] == pytest.approx(
        [concordance(said[:12], truth[:12])[1], concordance(said[12:], truth[12:])[1]]
    )
    assert scores.mean_of_folds == pytest.approx(np.mean(list(scores.ccc_folds.values())))
    assert scores.subjects["b"] == pytest.approx(concordance(said[3:12], truth[3:12]).mean())


def test_an_interval_leaves_out_draws_that_are_not_defined() -> None:
    assert interval(np.array([np.nan, 1.0, np.nan, 1.0])) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.614, ".61"),
        (-0.05, "-.05"),
        (1.0, "1.00"),
        (0.999, "1.00"),
        (-1.0, "-1.00"),
        (0.001, "0"),
        (-0.001, "0"),
    ],
)
def test_coefficients_are_written_without_the_zero(value: float, text: str) -> None:
    assert plain(value) == text


def test_a_draw_of_clips_that_all_got_one_value_has_no_agreement_whatever_rounding_leaves() -> None:
    _, truth = data()
    said = truth.copy()
    for owner in "abcde":
        said[owner == OWNERS] = truth[owner == OWNERS].mean(axis=0)
    alone = Moments.of(said, truth, OWNERS.tolist()).figures(np.eye(5))
    assert (alone["ccc"] == 0).all()
    assert np.isnan(alone["pearson"]).all()
