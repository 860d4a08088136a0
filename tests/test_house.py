"""Rules that the whole house keeps."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
LEAVES = ("manifests", "extractors", "classifiers", "fusion")
ROOMS = ("affectstack", *LEAVES, "pipeline")
FILES = [p for room in ROOMS for p in sorted((HOUSE / room).rglob("*.py"))]

# The calls that run code from data, whatever name a file imports them by.
_UNSAFE = {
    "eval", "exec", "compile", "__import__",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads", "marshal.load",
    "marshal.loads", "shelve.open", "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads",
    "joblib.load", "pandas.read_pickle", "runpy.run_path",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all",
}  # fmt: skip

# What must not be given to any call, and what `torch.load` must be given.
_NEVER = {"shell", "allow_pickle", "trust_remote_code"}


def trees(paths: list[Path]) -> Iterator[tuple[Path, ast.Module]]:
    for path in paths:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    allowed = {
        "affectstack": {"affectstack"},
        "pipeline": set(ROOMS),
        **{leaf: {"affectstack", leaf} for leaf in LEAVES},
        "fusion": {"affectstack", "classifiers", "fusion"},  # fusers of sequences are heads
    }[room]
    for path, tree in trees(sorted((HOUSE / room).rglob("*.py"))):
        assert imported(tree) & set(ROOMS) <= allowed, path.name


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def full_names(tree: ast.Module) -> dict[str, str]:
    """Return what the names that a file imports stand for: `np` for numpy, `loads` for pickle.loads."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def dangers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every use of a call that runs code from data."""
    names = full_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            name = names.get(first, first) + (f".{rest}" if rest else "")
            if name.removeprefix("builtins.") in _UNSAFE:  # also where it is only passed on
                yield node.lineno, name
        elif isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            name = names.get(first, first) + (f".{rest}" if rest else "")
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            yield from ((node.lineno, f"{k}={given[k]}") for k in _NEVER & set(given) if given[k] != "False")
            if name == "torch.load" and given.get("weights_only") != "True":
                yield node.lineno, "torch.load without weights_only=True"


def test_nothing_runs_code_from_data_but_the_one_reader_of_pickles_which_runs_none() -> None:
    found = [f"{path.name}: {name}" for path, tree in trees(FILES) for _, name in dangers(tree)]
    assert found == ["legacy_pickle.py: pickle.Unpickler"]  # its own tests hold it to eight harmless names


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.load(f)",
        "import pickle as p; p.loads(b)",
        "from pickle import loads; loads(b)",
        "from pickle import loads as read; read(b)",
        "import pickle; pickle.Unpickler(f).load()",
        "import pickle; list(map(pickle.loads, parts))",
        "import joblib; joblib.load(p)",
        "from joblib import load; load(p)",
        "import pandas as pd; pd.read_pickle(p)",
        "import torch; torch.load(p)",
        "import torch; torch.load(p, weights_only=False)",
        "import torch as t; t.load(p, weights_only=safe)",
        "from torch import load; load(p)",
        "import numpy as np; np.load(p, allow_pickle=True)",
        "import numpy as np; np.load(p, allow_pickle=1)",
        "eval(s)",
        "exec(s)",
        "import builtins; builtins.eval(s)",
        "import os; os.system(s)",
        "from os import system; system(s)",
        "import subprocess; subprocess.run(s, shell=True)",
        "import subprocess; subprocess.Popen(s, shell=flag)",
        "import yaml; yaml.load(s, Loader=yaml.Loader)",
        "import yaml; yaml.unsafe_load(s)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
    ],
)
def test_the_guard_knows_what_runs_code_from_data(code: str) -> None:
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import torch; torch.load(p, weights_only=True)",
        "import numpy as np; np.load(p)",
        "import numpy as np; np.load(p, allow_pickle=False)",
        "import yaml; yaml.safe_load(s)",
        "import subprocess; subprocess.run([a, b])",
        "import torch; torch.compile(m).eval()",
        "import re; re.compile(p)",
        "import json; json.load(f)",
        "import pickle; pickle.dumps(x)",
    ],
)
def test_the_guard_lets_pass_what_runs_none(code: str) -> None:
    assert not list(dangers(ast.parse(code)))


def test_leaves_do_not_print_or_parse_command_lines() -> None:
    for path, tree in trees([p for p in FILES if p.parent.name in LEAVES]):
        assert not {ast.unparse(c.func) for c in calls(tree)} & {"print"}, path.name
        assert not imported(tree) & {"typer", "argparse", "h5py", "rich"}, path.name


def test_every_module_has_its_test_file_or_is_tested_by_its_command() -> None:
    tests = {p.stem.removeprefix("test_") for p in (HOUSE / "tests").rglob("test_*.py")}
    alone = {p.stem for p in FILES if p.parent.name in ("manifests", "extractors") and p.stem != "__init__"}
    covered = {"corpora", "corpus", "contract", "registry", "table"}  # by their users' tests
    assert alone - tests <= covered
