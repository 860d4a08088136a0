"""What `doctor` looks at: packages, devices, codecs, the hub, and the folder that is worked in."""

import contextlib
import os
import platform
import resource
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from affectstack import __version__
from pipeline.cli import relative_to_cwd, workers_or_cores

# Nothing else is imported before it is known to be there.
if TYPE_CHECKING:
    from extractors.weights import Weights

State = Literal["ok", "missing", "note"]

# By what FFmpeg calls a decoder that needs no hardware of its own; any of several will do.
_CODECS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp9": ("vp9", "libvpx-vp9"),
    "av1": ("libdav1d", "libaom-av1"),
    "mpeg4": ("mpeg4",),
    "mpeg1video": ("mpeg1video",),
    "aac": ("aac",),
    "mp3": ("mp3float", "mp3"),
    "opus": ("opus", "libopus"),
    "flac": ("flac",),
    "pcm": ("pcm_s16le",),
}
_MODULES = {"scikit-learn": "sklearn"}  # of packages that are imported by another name
_FACES = "facenet-pytorch"
_HUB = "https://huggingface.co"
_HUB_SECONDS = 3.0
_HUB_QUESTION = "/api/models?limit=1"
_HUB_CODES = (401, 429)  # what a hub itself may say to a question without a key
_CONFIGURATIONS = ("config.json", "preprocessor_config.json")  # all that take weights of the hub read both
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_WEIGHT_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")  # of files in parts
_LEAST_BYTES = 1e9
_LEAST_FILES = 256  # open at once: decode workers, shards, libraries


@dataclass(frozen=True)
class Line:
    """What was found.

    Attributes:
        state: "ok", "missing", or "note": worth knowing, but nothing lacks.
        text: What.
        mend: What to do about it, or "".
    """

    state: State
    text: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.state:<9}{self.text}" + (f"\n{'':<9}-> {self.mend}" if self.mend else "")


def software() -> Iterator[Line]:
    """Yield versions, and what does not fit together."""
    yield Line("ok", f"affectstack {__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _torch()
    yield from _packages("numpy", "transformers", "scikit-learn", "pandas", "opensmile")
    yield from _packages("av", "h5py", "soundfile", "soxr")
    if _version(_FACES):
        yield Line("ok", f"{_FACES} {_version(_FACES)}")
    else:
        yield Line(
            "note",
            f"{_FACES} is not installed; only features that look for faces need it",
            f"python -m pip install --no-deps {_FACES}==2.6.0",
        )


def _torch() -> Line:
    pair = " and ".join(f"{name} {_version(name) or '(absent)'}" for name in ("torch", "torchvision"))
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        mend = "python -m pip install --force-reinstall torch torchvision"
        return Line("missing", f"{pair} do not fit ({reason}); install both from one place", mend)
    return Line("ok", f"{pair} fit")


def _packages(*names: str) -> Iterator[Line]:
    absent = [name for name in names if not _version(name)]
    faults = {name: fault for name in names if name not in absent and (fault := _fault(name))}
    if absent:
        what = ", ".join(absent)
        yield Line("missing", f"not installed: {what}", f"python -m pip install {' '.join(absent)}")
    for name, fault in faults.items():
        mend = f"python -m pip install --force-reinstall {name}"
        yield Line("missing", f"{name} {_version(name)} cannot be loaded ({fault})", mend)
    there = [name for name in names if name not in absent and name not in faults]
    if there:
        yield Line("ok", ", ".join(f"{name} {_version(name)}{_inside(name)}" for name in there))


def _fault(package: str) -> str:
    """Return why a package that is installed cannot be loaded, or ""."""
    try:
        import_module(_MODULES.get(package, package))
    except Exception as error:  # of a library that lacks another, whatever that raises
        return next(iter(str(error).splitlines()), type(error).__name__)
    return ""


def _inside(package: str) -> str:
    """Return what C library a package brings."""
    if package == "av":
        import av

        parts = {
            name: ".".join(map(str, av.library_versions[name][:2])) for name in ("libavcodec", "libavformat")
        }
        return f" (FFmpeg {av.ffmpeg_version_info}: {', '.join(f'{k} {v}' for k, v in parts.items())})"
    if package == "h5py":
        import h5py

        return f" (HDF5 {h5py.version.hdf5_version})"
    if package == "soundfile":
        import soundfile

        return f" ({soundfile.__libsndfile_version__})"
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def devices() -> Iterator[Line]:
    """Yield what can be computed with."""
    from extractors.hardware import cpp_compiler, has_bf16

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    units = "units for bfloat16" if has_bf16() else "no units for bfloat16"
    yield Line("ok", f"{workers_or_cores(None)} cores, {memory:.0f} GB of memory, {units}")
    yield _gpu()
    if compiler := cpp_compiler():
        yield Line("ok", f"C++ compiler {compiler}")
    else:
        yield Line(
            "note", "no C++ compiler; networks run up to a tenth slower on the CPU", "sudo apt install g++"
        )


def _gpu(driver: Path = Path("/proc/driver/nvidia/version")) -> Line:
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Line("ok", f"GPU {torch.cuda.get_device_name()}, {memory:.0f} GB, PyTorch built for {built}")
    if driver.is_file():
        return Line(
            "note",
            f"a driver for NVIDIA GPUs is here, but this PyTorch (built for {built}) cannot use one",
            "python -m pip install --force-reinstall torch torchvision  # built for the CUDA of nvidia-smi",
        )
    return Line("note", "no GPU; networks run on the CPU")


def codecs() -> Iterator[Line]:
    """Yield which codecs can be decoded here."""
    lacking = [name for name, decoders in _CODECS.items() if not any(map(_decodes, decoders))]
    there = [name for name in _CODECS if name not in lacking]
    if there:
        yield Line("ok", f"decodes {', '.join(there)}")
    if lacking:
        yield Line(
            "missing",
            f"cannot decode {', '.join(lacking)}",
            "python -m pip install --force-reinstall --only-binary av av",
        )


def _decodes(name: str) -> bool:
    import av

    try:
        return bool(av.codec.Codec(name, "r").is_decoder)
    except ValueError:  # what PyAV's own errors for unknown codecs are
        return False


def hub_state() -> Line:
    """Return whether the Hugging Face hub answers within seconds; it is not asked if it is shut off."""
    if _offline():
        return Line("note", "the Hugging Face hub is shut off by HF_HUB_OFFLINE; only its cache is used")
    if hub_answers():
        return Line("ok", f"the Hugging Face hub answers ({_endpoint()})")
    return Line("note", f"no answer from the Hugging Face hub at {_endpoint()} within {_HUB_SECONDS:.0f} s")


def hub_weights(name: str, weights: "Weights") -> Line:
    """Return whether weights of the hub are here, or can be fetched."""
    called = f"feature {name}: {weights.hub}@{weights.revision[:12]}"
    if _cached(weights):
        return Line("ok", f"{called} is there, in the cache of the hub")
    if not _offline() and hub_answers():
        return Line("note", f"{called} is fetched from the hub when it is first used")
    reason = "HF_HUB_OFFLINE is set" if _offline() else "the hub does not answer"
    fetch = f"hf download {weights.hub} --revision {weights.revision}"
    begin = "HF_HUB_OFFLINE=0 " if _offline() else "where the hub can be reached: "
    return Line("missing", f"{called} is not in the cache of the hub, and {reason}", begin + fetch)


def _cached(weights: "Weights") -> bool:
    from huggingface_hub import try_to_load_from_cache

    from pipeline.files import read_json

    def here(file: str) -> Path | None:
        found = try_to_load_from_cache(weights.hub, file, revision=weights.revision)
        return Path(found) if isinstance(found, str) else None

    def all_parts(index: str) -> bool:
        path = here(index)
        parts = (read_json(path) or {}).get("weight_map") if path else None
        return isinstance(parts, dict) and bool(parts) and all(here(str(p)) for p in set(parts.values()))

    return all(map(here, _CONFIGURATIONS)) and (
        any(map(here, _WEIGHT_FILES)) or any(map(all_parts, _WEIGHT_INDEXES))
    )


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB


def hub_answers() -> bool:
    """Tell whether a hub answers at its address."""
    return _answers(_endpoint())


@cache
def _answers(endpoint: str) -> bool:
    if urllib.parse.urlsplit(endpoint).scheme not in ("http", "https"):
        return False
    answered = threading.Event()

    def ask() -> None:
        try:  # http or https, see above
            urllib.request.urlopen(endpoint + _HUB_QUESTION, timeout=_HUB_SECONDS).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code not in _HUB_CODES:  # a proxy's, that cannot or may not reach it
                return
        except (OSError, ValueError):
            return
        answered.set()

    # Looking up a name has no time limit of its own.
    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(_HUB_SECONDS)


def folder_lines(folder: Path, needed: float | None) -> Iterator[Line]:
    """Yield whether there is room in a folder, and whether files can be published there.

    Args:
        folder: Where the work goes on.
        needed: Bytes that a plan says are needed, or None.
    """
    free = shutil.disk_usage(folder).free
    least, why = _LEAST_BYTES, "at least 1 GB is wanted"
    if needed is not None and needed > least:
        least, why = needed, f"the plan needs {needed / 1e9:.1f} GB"
    here = relative_to_cwd(folder)
    if free < least:
        mend = f"make room on that disk ({_mount(folder)}), or move the experiment to another"
        yield Line("missing", f"{free / 1e9:.1f} GB free in {here}; {why}", mend)
    else:
        planned = "" if needed is None else f"; the plan needs {needed / 1e9:.2f} GB"
        yield Line("ok", f"{free / 1e9:.0f} GB free in {here}{planned}")
    yield _write_test(folder)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= soft < _LEAST_FILES:  # negative: no limit
        yield Line(
            "missing", f"a process may open only {soft} files; {_LEAST_FILES} are wanted", "ulimit -n 4096"
        )
    else:
        yield Line("ok", f"a process may open {soft if soft >= 0 else 'any number of'} files")


def _mount(folder: Path) -> Path:
    return next(p for p in (folder.resolve(), *folder.resolve().parents) if p.is_mount())


def _write_test(folder: Path) -> Line:
    """Do once what the store does: write, fsync, rename, link, lock a file of HDF5, and delete."""
    import h5py

    name = f".doctor-{os.getpid()}-{uuid.uuid4().hex}"
    first, second, link = (folder / f"{name}{end}" for end in (".tmp", ".h5", ".link"))
    step = "write a file"
    try:
        with first.open("xb") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
        step = "rename a file"
        first.replace(second)
        step = "make a link"
        link.symlink_to(second.name)
        link.unlink()
        second.unlink()
        step = "lock a file of HDF5"
        with h5py.File(second, "x", locking=True):
            pass
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())[:120]
        return Line(
            "missing",
            f"cannot {step} in {relative_to_cwd(folder)} ({reason})",
            "work in a folder that you may write to, on a local disk or a network drive with links and locks",
        )
    finally:
        for path in (first, second, link):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return Line("ok", "files can be written, renamed, linked, locked and deleted there")


def openface_line() -> Line:
    """Return whether the OpenFace program is where features look for it that name no other."""
    if found := shutil.which("FeatureExtraction"):
        return Line("ok", f"OpenFace: {found}")
    return Line("note", "OpenFace: no program FeatureExtraction on PATH; its CSV files are read all the same")
