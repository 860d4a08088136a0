"""What the machine can compute with, and how memory is had from it."""

import contextlib
import ctypes
import os
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is how ARM calls it
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


@cache
def has_bf16() -> bool:
    """Tell whether bfloat16 products have units of their own here: a GPU since Ampere, or a CPU with them."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next(
        (line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []
    )
    return bool(_BF16_FLAGS & set(flags))


def cpp_compiler() -> str | None:
    """Return the C++ compiler that `torch.compile` would use on the CPU, or None.

    It looks for no other than this one (`cpp.cxx` in torch/_inductor/config.py).
    """
    usual = "clang++" if sys.platform == "darwin" else "g++"
    command = shlex.split(os.environ.get("CXX", usual))
    return shutil.which(command[0]) if command else None


def keep_freed_memory() -> None:
    """Let memory that is freed stay with this process for what it needs next, where glibc is in charge.

    glibc gives large blocks back at once, and each layer of a network then waits for fresh pages: on two
    cores a window of SlowFast takes 0.40 s in place of 0.34 s, while wav2vec2 gains nothing. Small results
    that stay must then lie outside of the heap, or no freed place is ever whole again.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
