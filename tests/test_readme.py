"""The commands of the README exist and do what it says."""

import re
from pathlib import Path

import pytest
import yaml

from classifiers import HEADS
from extractors import EXTRACTORS
from fusion import FUSERS, VALUE_FUSERS
from pipeline import recipes
from pipeline.experiment import parse
from pipeline.workspace import Workspace

HOUSE = Path(__file__).parents[1]
README = (HOUSE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("python -m pipeline.")
]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_of_the_readme_parses(command: str) -> None:
    import importlib
    import shlex

    import typer

    _, _, module, *args = shlex.split(command, comments=True)
    if importlib.import_module(module).__spec__.submodule_search_locations is not None:  # a package
        module = f"{module}.__main__"
    click_command = typer.main.get_command(importlib.import_module(module).app)
    click_command.make_context(module, list(args))


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_two_commands_come_first() -> None:
    assert BLOCKS[0][1].startswith("make demo")
    assert "make test" in BLOCKS[0][1]


def test_the_example_experiment_is_valid(tmp_path: Path) -> None:
    block, networks, faces, sequences, grid = [b for kind, b in BLOCKS if kind == "yaml"]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/SLOWFAST_8x8_R50.safetensors").touch()
    (tmp_path / "mine.yaml").write_text("MODEL: {ARCH: mvit}\n")
    document = {**yaml.safe_load(block), **yaml.safe_load(grid)}
    document["features"] |= yaml.safe_load(faces)
    document["features"] |= {f"more-{k}": v for k, v in yaml.safe_load(networks).items()}
    for section, entries in yaml.safe_load(sequences).items():
        document[section] |= entries
    workspace = Workspace(parse(document, "README"), tmp_path, tmp_path / "experiment.yaml")
    assert len(workspace.experiment.settings()) == 3 * 2 + 2


@pytest.mark.parametrize("name", [*EXTRACTORS, *HEADS, *FUSERS, *VALUE_FUSERS])
def test_everything_registered_is_named_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


def test_recipes_that_the_readme_uses_exist() -> None:
    assert set(re.findall(r"--recipe ([\w-]+)", README)) <= set(recipes.names())
