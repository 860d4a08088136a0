import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.paths import path_problem


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus root with a neighbour of the same prefix and links to the inside and the outside."""
    home = tmp_path_factory.mktemp("home")
    base = home / "clips"
    (base / "a").mkdir(parents=True)
    (home / "clips_evil").mkdir()
    (home / "clips_evil" / "x.mp4").touch()
    (base / "inner").symlink_to(base / "a")
    (base / "twin").symlink_to(home / "clips_evil")
    (base / "up").symlink_to("..")
    (base / "x.mp4").symlink_to(home / "clips_evil" / "x.mp4")
    return base


@pytest.mark.parametrize(
    "value",
    [
        "a.mp4",
        "Actor_01/03-01-01-01-01-01-01.wav",
        "a b/c.mp4",
        "a..b/..c.mp4",
        "./a.mp4",
        "a/-x.mp4",
        "é.wav",
    ],
)
def test_plain_relative_path_is_fine(value: str, root: Path) -> None:
    assert path_problem(value) is None
    assert path_problem(value, root) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("../x.mp4", "leaves the corpus root"),
        ("a/../../x.mp4", "leaves the corpus root"),
        ("a/..", "leaves the corpus root"),
        ("../clips_evil/x.mp4", "leaves the corpus root"),
        ("/etc/passwd", "is absolute"),
        ("//host/share/x.mp4", "is absolute"),
        ("C:\\x\\a.mp4", "a URL or a drive"),
        ("C:/x/a.mp4", "a URL or a drive"),
        ("C:x.mp4", "a URL or a drive"),
        ("c:a/x.mp4", "a URL or a drive"),
        ("\\\\host\\share\\x.mp4", "is absolute"),
        ("a\\b.mp4", "backslash"),
        ("..\\x.mp4", "backslash"),
        ("\\x.mp4", "backslash"),
        ("http://host/x.mp4", "URL"),
        ("file:///etc/passwd", "URL"),
        ("concat:a.mp4|b.mp4", "URL"),
        ("data:,x", "URL"),
        ("a\0b.mp4", "control character"),
        ("a\nb.mp4", "control character"),
        ("a\r.mp4", "control character"),
        ("a\x7f.mp4", "control character"),
        ("-i", "begins with '-'"),
        ("--output=x.mp4", "begins with '-'"),
    ],
)
def test_path_that_could_mean_something_else_is_refused_by_its_spelling(value: str, words: str) -> None:
    assert words in (path_problem(value) or "")


@pytest.mark.parametrize("value", ["twin/x.mp4", "up/clips_evil/x.mp4", "x.mp4", "up", "inner/../../x.mp4"])
def test_link_that_leaves_the_root_is_refused_even_to_a_sibling_of_like_name(value: str, root: Path) -> None:
    assert "leaves the corpus root" in (path_problem(value, root) or "")


def test_link_that_loops_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert path_problem("loop/x.mp4", tmp_path) == "cannot be followed to a file"


def test_link_that_stays_inside_is_fine(root: Path) -> None:
    assert path_problem("inner/a.mp4", root) is None


def test_root_reached_through_a_link_is_still_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert path_problem("a/x.mp4", tmp_path / "link") is None
    assert path_problem("twin/x.mp4", tmp_path / "link") is not None


def test_file_need_not_exist(root: Path) -> None:
    assert path_problem("nowhere/x.mp4", root) is None


PARTS = st.sampled_from(["..", ".", "", "a", "inner", "twin", "up", "clips", "clips_evil", "x.mp4", "~", "-"])
SPELLINGS = st.lists(PARTS, min_size=1, max_size=6).map("/".join) | st.text(max_size=20)


@settings(deadline=None, max_examples=300)
@given(value=SPELLINGS)
def test_accepted_path_never_resolves_outside_of_the_root(value: str, root: Path) -> None:
    if path_problem(value, root) is not None:
        return
    real = os.path.realpath(root / value)
    assert os.path.commonpath([real, os.path.realpath(root)]) == os.path.realpath(root)


@settings(deadline=None, max_examples=300)
@given(value=SPELLINGS)
def test_accepted_spelling_never_climbs_even_when_no_root_is_known(value: str) -> None:
    if path_problem(value) is None:
        assert os.path.commonpath(["/root", os.path.normpath(Path("/root", value))]) == "/root"
