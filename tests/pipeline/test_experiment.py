from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab

from pipeline.experiment import dump, load, override, parse
from pipeline.options import ConfigError


def test_no_experiment_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no .*experiment\.yaml here .*python -m pipeline\.init"):
        load(tmp_path / "experiment.yaml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hedas", {}, r"unknown key 'hedas' \(did you mean 'heads'\?\)"),
        ("fusion.metod", "mean", r"fusion: logpool has no option 'metod'"),
        ("features.one.extractor", "opensmil", r"features\.one: unknown extractor .*'opensmile'\?"),
        ("features.one.pathh", "x", r"features\.one: table has no option 'pathh' \(did you mean 'path'\?\)"),
        ("heads.one-log.head", "logistics", r"heads\.one-log: unknown head 'logistics' .*'logistic'\?"),
        ("heads.one-log.CC", 3, r"heads\.one-log: logistic has no option 'CC'"),
        ("heads.one-log.C", "high", r"heads\.one-log\.C: 'high': .*number"),
        ("heads.one-log.features", "on", r"heads\.one-log: no feature 'on' in this .*'one'\?"),
        ("fusion.sources", ["one-lg"], r"fusion\.sources: no source 'one-lg' .*'one-log'\?"),
        ("imported", ["one-log"], r"'one-log' is the name of two sources"),
        ("imported", ["a/b"], r"imported: name 'a/b': expected letters"),
        ("fusion.method", "meen", r"fusion: unknown fusion method 'meen' \(did you mean 'mean'\?\)"),
        ("fusion.stacking", "insample", r"fusion\.stacking: .*'nested', 'cross-fitted' or 'in-sample'"),
        ("features.one.modality", "smell", r"features\.one\.modality: .*found 'smell'"),
        ("inner_folds", 1, r"inner_folds: .*greater than or equal to 2"),
        ("heads.a/b", {"features": "one", "head": "svc"}, "name 'a/b'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key(
    lab: Lab, change: Callable[..., None], key: str, value: object, message: str
) -> None:
    change(key, value)
    with pytest.raises(ConfigError, match=message):
        load(lab.folder / "experiment.yaml")


def test_an_option_that_is_missing_is_named_with_the_way_to_give_it(lab: Lab) -> None:
    del lab.document["features"]["one"]["path"]
    lab.save()
    with pytest.raises(ConfigError, match=r"features\.one: table needs 'path'.*--set features\.one\.path="):
        load(lab.folder / "experiment.yaml")


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- a", "expected keys")])
def test_a_file_that_is_no_experiment_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "experiment.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "experiment.yaml")


def test_a_modality_that_the_extractor_does_not_read_is_refused(
    lab: Lab, change: Callable[..., None]
) -> None:
    change("features.one", {"modality": "video", "extractor": "opensmile"})
    with pytest.raises(ConfigError, match="modality 'video', but opensmile reads 'audio'"):
        load(lab.folder / "experiment.yaml")


def test_relative_paths_belong_to_the_experiments_folder(lab: Lab) -> None:
    workspace = load(lab.folder / "experiment.yaml")
    assert vars(workspace.extractor("one"))["path"] == lab.folder / "one.csv"


def test_override_sets_deep_keys_and_wildcards_without_touching_the_original() -> None:
    document = {"heads": {"a": {"C": 1}, "b": {"C": 2}}}
    out = override(document, ["heads.*.C=3", "heads.a.scale=none", "fusion.sources=[a, b]"])
    assert out == {
        "heads": {"a": {"C": 3, "scale": "none"}, "b": {"C": 3}},
        "fusion": {"sources": ["a", "b"]},
    }
    assert document == {"heads": {"a": {"C": 1}, "b": {"C": 2}}}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("heads", "expected key=value"),
        ("=3", "expected key=value"),
        ("heads.a.C.x=3", "'C' is a value"),
        ("heads.z*.C=3", "nothing matches 'z\\*'"),
        ("heads.a.C=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override({"heads": {"a": {"C": 1}}}, [setting])


def test_a_dumped_document_parses_to_the_same_experiment(lab: Lab) -> None:
    import yaml

    again = yaml.safe_load(dump(lab.document))
    assert parse(again, "x") == parse(lab.document, "x")


def test_a_head_takes_the_experiments_seed_unless_it_has_its_own(
    lab: Lab, change: Callable[..., None]
) -> None:
    change("seed", 7)
    change("heads.two-log.seed", 9)
    workspace = load(lab.folder / "experiment.yaml")
    assert workspace.head_identity("one-log")["seed"] == 7
    assert workspace.head_identity("two-log")["seed"] == 9
