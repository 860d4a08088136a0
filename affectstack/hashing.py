"""Fingerprints of files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip_sha256(files: Sequence[Path]) -> str:
    """Hash a clip's media.

    Args:
        files: The media files in the order video, audio, text.

    Returns:
        The sha256 of the one file in hex; of several files, the sha256 of their hex digests joined;
        "" when there is none or one is absent.
    """
    if not files or not all(f.is_file() for f in files):
        return ""
    digests = [file_sha256(f) for f in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
