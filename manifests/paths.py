"""Media paths of a manifest: relative, plain, and inside the corpus root."""

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")


def path_problem(value: str, root: Path | None = None) -> str | None:
    """Say what is wrong with a media path, or None when it is fine.

    Args:
        value: The path as the manifest spells it.
        root: The corpus root; when given, links are followed and must stay inside it.

    Returns:
        A few words for an error message, or None.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if _CONTROL.search(value):
        return "holds a control character"
    if value.startswith("-"):
        return "begins with '-', which tools read as an option"
    if _URL.match(value):
        return "is a URL or a drive; give a path relative to the corpus root"
    if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        return "is absolute; give a path relative to the corpus root"
    if "\\" in value:
        return "holds a backslash; write '/' between folders"
    if ".." in PurePosixPath(value).parts:
        return "leaves the corpus root ('..')"
    if root is not None:
        base = root.resolve()
        try:
            inside = (base / value).resolve().is_relative_to(base)
            (base / value).stat()
        except FileNotFoundError:
            pass  # whoever reads the file will say so
        except (OSError, RuntimeError):  # a loop of links: the second before Python 3.13
            return "cannot be followed to a file"
        if not inside:
            return "leaves the corpus root through a link"
    return None
