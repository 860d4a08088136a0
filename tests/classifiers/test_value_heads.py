"""How heads that predict values choose, scale and refuse; the laws of all heads are in test_head_contract."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from affectstack.concordance import concordance
from classifiers import HEADS, HeadError
from classifiers.contract import held_out_parts
from classifiers.values import check_values

OF_VALUES = ["ridge-regression", "svr", "mlp-regression"]
SUBJECTS = np.repeat([f"s{i}" for i in range(6)], 10)


def clips(seed: int = 0, noise: float = 0.5) -> tuple[Any, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 8))
    y = pd.DataFrame({"arousal": X[:, 0] + X[:, 1], "valence": 10 + 3 * X[:, 2]})
    return X.astype(np.float32), y + noise * rng.normal(size=y.shape)


def head(name: str, **options: Any) -> Any:
    return HEADS[name](**options)


def test_ridge_regression_is_that_of_scikit_learn_on_z_scored_sides() -> None:
    X, y = clips()
    scaled = StandardScaler().fit_transform(X.astype(np.float64))
    found = head("ridge-regression", alpha=3.0).fit(X, y).predict_values(X)
    expected = np.clip(Ridge(alpha=3.0).fit(scaled, y).predict(scaled), y.min(), y.max())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert ((expected > y.min().to_numpy()) & (expected < y.max().to_numpy())).mean() > 0.9


@pytest.mark.parametrize("name", OF_VALUES)
def test_a_clip_of_odd_features_gets_no_value_beyond_those_of_the_training_clips(name: str) -> None:
    X, y = clips()
    said = head(name).fit(X, y, SUBJECTS).predict_values(1e6 * X)
    assert (said >= y.min().to_numpy()).all()
    assert (said <= y.max().to_numpy()).all()


@pytest.mark.parametrize("name", OF_VALUES)
def test_other_units_give_the_same_values_in_other_units(name: str) -> None:
    X, y = clips()
    found = head(name).fit(X, y, SUBJECTS).predict_values(X)
    other = head(name).fit(X, 100 * y - 7, SUBJECTS).predict_values(X)
    np.testing.assert_allclose(other, 100 * found - 7, rtol=1e-4)


@pytest.mark.parametrize("name", ["ridge-regression", "svr"])
def test_an_attribute_is_predicted_as_if_it_were_alone(name: str) -> None:
    X, y = clips()
    options = {"alpha": [1, 100]} if name == "ridge-regression" else {"C": [0.1, 3]}
    both = head(name, **options).fit(X, y, SUBJECTS).predict_values(X)
    alone = head(name, **options).fit(X, y[["valence"]], SUBJECTS).predict_values(X)
    np.testing.assert_array_equal(both[:, 1:], alone)


def test_a_penalty_is_chosen_for_each_attribute_by_the_ccc_on_held_out_subjects() -> None:
    X, y = clips()
    y["valence"] = np.random.default_rng(5).normal(size=len(y)) + 0.3 * X[:, 2]  # hardly there
    alphas = [0.1, 30.0, 3000.0]
    made = head("ridge-regression", alpha=alphas, seed=2).fit(X, y, SUBJECTS)
    found = np.zeros((3, 2))
    data, values = X.astype(np.float64), y.to_numpy()
    splits = held_out_parts(SUBJECTS.tolist(), ["clip"] * 60, 6, 2)
    for i, alpha in enumerate(alphas):
        said = np.full(values.shape, np.nan)
        for fit, held in splits:
            scaler = StandardScaler().fit(data[fit])
            middle, spread = values[fit].mean(axis=0), values[fit].std(axis=0)
            model = Ridge(alpha=alpha).fit(scaler.transform(data[fit]), (values[fit] - middle) / spread)
            found_here = middle + spread * model.predict(scaler.transform(data[held]))
            said[held] = np.clip(found_here, values[fit].min(axis=0), values[fit].max(axis=0))
        np.testing.assert_allclose(made.held_out({"alpha": alpha}, data, values, splits), said)
        found[i] = concordance(said, values)
    assert [c["alpha"] for c in made.chosen_] == [alphas[i] for i in found.argmax(axis=0)]


def test_svr_chooses_among_all_combinations() -> None:
    X, y = clips()
    made = head("svr", C=[0.01, 10], epsilon=[0.0, 2.0], gamma=["scale", 5.0]).fit(X, y, SUBJECTS)
    assert [set(c) for c in made.chosen_] == [{"C", "epsilon", "gamma"}] * 2
    assert all(c["gamma"] == "scale" and c["C"] == 10 for c in made.chosen_)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ridge-regression", {"alpha": []}, "alpha is an empty list"),
        ("ridge-regression", {"alpha": [1, 0]}, "alpha is 0; expected more than 0"),
        ("svr", {"C": -1.0}, "C is -1; expected more than 0"),
        ("svr", {"epsilon": [-0.1]}, "epsilon is -0.1; expected 0 or more"),
        ("svr", {"gamma": 0.0}, "gamma is 0; expected more than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadError, match=message):
        head(name, **options).fit(*clips(), SUBJECTS)


def test_a_choice_needs_two_subjects() -> None:
    with pytest.raises(HeadError, match=r"1 subject.*need 2 or more"):
        head("ridge-regression", alpha=[1, 10]).fit(*clips(), ["s0"] * 60)
    assert head("ridge-regression").fit(*clips(), ["s0"] * 60).chosen_ == [{"alpha": 1.0}] * 2


def test_a_choice_needs_two_parts() -> None:
    with pytest.raises(HeadError, match="parts is 1"):
        head("svr", C=[1, 2], parts=1).fit(*clips(), SUBJECTS)


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        *((name, learned) for name in OF_VALUES for learned in ("range_", "centre_", "attributes_")),
        ("ridge-regression", "machines_"),
        ("svr", "machines_"),
    ],
)
def test_a_saved_head_that_does_not_fit_together_is_refused(name: str, learned: str, tmp_path: Path) -> None:
    made = head(name).fit(*clips(), SUBJECTS)
    setattr(made, learned, getattr(made, learned)[..., :1] if learned != "machines_" else made.machines_[:1])
    made.save(tmp_path)
    with pytest.raises(HeadError, match="not a saved"):
        HEADS[name].load(tmp_path)
    delattr(made, learned)
    made.save(tmp_path)
    with pytest.raises(HeadError, match="not a saved"):
        HEADS[name].load(tmp_path)


@pytest.mark.parametrize("wrong", [np.zeros((4, 2)), ["sad", "glad"], pd.DataFrame(index=range(4))])
def test_values_are_a_table(wrong: Any) -> None:
    with pytest.raises(HeadError, match="one column per attribute"):
        check_values(wrong)
