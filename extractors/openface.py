"""Facial action units by OpenFace 2 (Baltrusaitis et al. 2018), run here or elsewhere.

OpenFace is free for research only; see its licence. Its binary is run where there is one; its CSV
files, made anywhere, are read as they are.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from affectstack import AffectstackError
from extractors.contract import (
    Clip,
    ClipError,
    DecodeError,
    Extractor,
    Features,
    MissingMediaError,
    TooShortError,
)
from extractors.guard import Guard
from extractors.registry import EXTRACTORS
from extractors.weights import WeightsError, sha256

_INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)

# The order of MMER (SYSTEMS 2.4): 17 intensities in 0..5, then 18 presences of 0 or 1.
AU_COLUMNS = (*(f"AU{n:02d}_r" for n in _INTENSITIES), *(f"AU{n:02d}_c" for n in _PRESENCES))


class OpenFaceError(ClipError):
    """The OpenFace binary failed on a clip."""


@EXTRACTORS.register("openface")
class OpenFace(Extractor):
    """The 35 action units of every frame.

    A row is valid if OpenFace succeeded on the frame with at least `min_confidence`.

    Args:
        csv_dir: A folder of OpenFace CSV files named after the clip id or the media file, in any
            sub-folder; None runs the binary.
        binary: The `FeatureExtraction` program: a path, or a name on PATH.
        min_confidence: Frames below it are not valid; None calls every frame valid, as MMER does.
        timeout: Seconds that the binary may take for one clip.
    """

    modality = "au"

    def __init__(
        self,
        csv_dir: Path | None = None,
        binary: str = "FeatureExtraction",
        min_confidence: float | None = 0.8,
        timeout: float = 600.0,
    ) -> None:
        self.csv_dir = csv_dir
        self.looks_up = "" if csv_dir is None else csv_dir.name
        self.binary = binary
        self.min_confidence = min_confidence
        self.timeout = timeout
        self.rows_per_second = 30.0
        self.clips_per_shard = 16 if csv_dir is None else 1024

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The action units in MMER's order."""
        return AU_COLUMNS

    def identity(self) -> dict[str, Any]:
        """Where the values come from, and the confidence that makes a row valid."""
        if self.csv_dir is None:
            program = shutil.which(self.binary)
            found = sha256(Path(program)) if program else "absent"
            source = {"openface": "binary, dynamic", "binary_sha256": found}
        else:
            listing = hashlib.sha256()
            for path in sorted(self._files.values()):
                name = path.relative_to(self.csv_dir).as_posix()
                listing.update(f"{name}\0{sha256(path)}\n".encode())
            source = {"openface": "csv", "files_sha256": listing.hexdigest()}
        return {**source, "min_confidence": self.min_confidence}

    def prepare(self) -> None:
        """Find the CSV files or the binary.

        Raises:
            WeightsError: If there is neither.
        """
        if self.csv_dir is not None:
            _ = self._files
        elif shutil.which(self.binary) is None:
            raise WeightsError(
                f"openface: no program {self.binary!r} on PATH. Get OpenFace 2 from "
                "https://github.com/TadasBaltrusaitis/OpenFace (research only) and name its program "
                "with `binary: /path/to/FeatureExtraction`, or run it elsewhere and name the folder of its "
                "CSV files with `csv_dir: DIR`"
            )

    def extract(self, clip: Clip) -> Features:
        """Read the clip's CSV file, or make it."""
        if self.csv_dir is None:
            return self._run(clip)
        path = next((self._files[n] for n in clip.names if n in self._files), None)
        if path is None:
            raise MissingMediaError(
                f"no {' or '.join(f'{n}.csv' for n in clip.names)} in {self.csv_dir.name}"
            )
        return self._read(path, clip)

    @cached_property
    def _files(self) -> dict[str, Path]:
        folder = self.csv_dir
        if folder is None or not folder.is_dir():
            raise AffectstackError(f"openface: csv_dir {folder}: no such folder")
        files: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.csv")):
            if path.stem in files:
                raise AffectstackError(f"openface: {files[path.stem]} and {path} have the same name")
            files[path.stem] = path
        return files

    def _run(self, clip: Clip) -> Features:
        video = clip.need_video()
        with tempfile.TemporaryDirectory(prefix="openface-") as folder, Guard(folder) as guard:
            command = [self.binary, "-f", str(video), "-out_dir", folder, "-of", "clip", "-aus", "-q"]
            code, output = self._call(command, video.name, guard)
            written = Path(folder, "clip.csv")
            if code != 0 or not written.is_file():
                last = output.strip().splitlines()[-1:] or ["no output"]
                raise OpenFaceError(f"exit code {code} on {video.name}: {last[0][:200]}")
            return self._read(written, clip)

    def _call(self, command: list[str], name: str, guard: Guard) -> tuple[int, str]:
        """Run the program in a session of its own, so that whatever it started ends with a time-out or us."""
        try:
            process = subprocess.Popen(  # noqa: S603  # no shell; the path is absolute
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise WeightsError(f"openface: cannot run {self.binary} ({error.strerror})") from error
        guard.tell(str(process.pid))
        try:
            output, _ = process.communicate(timeout=self.timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise OpenFaceError(f"took longer than {self.timeout:g} s on {name}") from error
            raise
        return process.returncode, output

    def _read(self, path: Path, clip: Clip) -> Features:
        """Read a CSV file as OpenFace writes it, with or without blanks in its header."""
        import pandas as pd  # takes half a second

        try:
            frame = pd.read_csv(path, skipinitialspace=True)
        except (ValueError, OSError) as error:
            raise DecodeError(f"{path.name}: not readable as CSV ({error})") from error
        frame.columns = [str(c).strip() for c in frame.columns]
        missing = [c for c in ("timestamp", "confidence", "success", *AU_COLUMNS) if c not in frame]
        if missing:
            raise DecodeError(f"{path.name}: missing column {', '.join(missing[:3])}; not OpenFace output?")
        if frame.empty:
            raise DecodeError(f"{path.name}: no frames")
        if "face_id" in frame:  # the multi-face program repeats frames; the first face is the subject
            frame = frame[frame["face_id"] == frame["face_id"].min()]
        try:
            values = frame[list(AU_COLUMNS)].to_numpy(dtype=np.float32)
            times = frame["timestamp"].to_numpy(dtype=np.float64)
            sure = frame[["success", "confidence"]].to_numpy(dtype=np.float64)
        except ValueError as error:
            raise DecodeError(f"{path.name}: {error}") from error
        lasts = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        intervals = np.column_stack([times, times + lasts])
        valid = np.ones(len(frame), dtype=np.bool_)
        if self.min_confidence is not None:
            valid = (sure[:, 0] > 0) & (sure[:, 1] >= self.min_confidence)
        begin, end = clip.start or 0.0, np.inf if clip.end is None else clip.end
        inside = (times >= begin - 1e-6) & (times < end - 1e-6)
        if not inside.any():
            raise TooShortError(f"{path.name}: no frame lies between {begin:g} s and {end:g} s")
        return Features(values[inside], intervals[inside], valid[inside])
