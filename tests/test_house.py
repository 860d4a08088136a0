"""Rules that the whole house keeps."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
LEAVES = ("manifests", "extractors", "classifiers", "fusion")
ROOMS = ("affectstack", *LEAVES, "pipeline")
FILES = [p for room in ROOMS for p in sorted((HOUSE / room).rglob("*.py"))]

# The calls that run code from data, and the one place where each is allowed.
_UNSAFE = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "joblib.load", "os.system", "yaml.load",
    "pd.read_pickle", "pandas.read_pickle", "subprocess.getoutput",
}  # fmt: skip


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
    }[room]
    for path, tree in trees(sorted((HOUSE / room).rglob("*.py"))):
        assert imported(tree) & set(ROOMS) <= allowed, path.name


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def test_nothing_runs_code_from_data() -> None:
    for path, tree in trees(FILES):
        for call in calls(tree):
            name = ast.unparse(call.func)
            assert name not in _UNSAFE, f"{path.name}:{call.lineno}"
            settings = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert settings.get("shell") != "True", f"{path.name}:{call.lineno}"
            assert settings.get("allow_pickle") != "True", f"{path.name}:{call.lineno}"
            assert settings.get("trust_remote_code") != "True", f"{path.name}:{call.lineno}"
            if name == "torch.load":
                assert settings.get("weights_only") == "True", f"{path.name}:{call.lineno}"


def test_leaves_do_not_print_or_parse_command_lines() -> None:
    for path, tree in trees([p for p in FILES if p.parent.name in LEAVES]):
        assert not {ast.unparse(c.func) for c in calls(tree)} & {"print"}, path.name
        assert not imported(tree) & {"typer", "argparse", "h5py", "rich"}, path.name


def test_every_module_has_its_test_file_or_is_tested_by_its_command() -> None:
    tests = {p.stem.removeprefix("test_") for p in (HOUSE / "tests").rglob("test_*.py")}
    alone = {p.stem for p in FILES if p.parent.name in ("manifests", "extractors") and p.stem != "__init__"}
    covered = {"corpora", "corpus", "contract", "registry", "table"}  # by their users' tests
    assert alone - tests <= covered
