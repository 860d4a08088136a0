from pathlib import Path

import pytest

from classifiers import HEADS
from pipeline import recipes
from pipeline.experiment import override, parse
from pipeline.options import ConfigError
from pipeline.workspace import Workspace


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_a_valid_experiment(name: str, tmp_path: Path) -> None:
    settings = [
        f"features.{f}.path=x.csv"
        for f, s in recipes.read(name).get("features", {}).items()
        if s["extractor"] == "table"
    ]
    heads = [HEADS[h["head"]] for h in recipes.read(name).get("heads", {}).values()]
    if not all("classes" in head.tasks for head in heads):
        settings.append("attributes=[arousal]")  # which the corpus says
    Workspace(parse(override(recipes.read(name), settings), name), tmp_path, tmp_path / "experiment.yaml")


def test_the_recipes_of_one_corpus_share_their_features() -> None:
    light, normed = recipes.read("ravdess-light"), recipes.read("ravdess-light-speaker-norm")
    assert light["features"] == normed["features"]
    plain = [{**h, "speaker_norm": True} for h in light["heads"].values()]
    assert list(normed["heads"].values()) == plain


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'demmo' \(did you mean 'demo'\?\)"):
        recipes.read("demmo")
