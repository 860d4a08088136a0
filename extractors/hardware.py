"""What the machine can compute with."""

import os
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is how ARM calls it


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
