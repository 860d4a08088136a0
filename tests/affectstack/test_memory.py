import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from affectstack.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.empty(3_000_000, np.uint8).fill(1)
        np.empty(80_000_000, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_memory_that_is_freed_is_used_again_without_new_pages() -> None:
    found = {}
    for mode in ("given back", "kept"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True, timeout=60
        )
        found[mode] = int(done.stdout)
    assert found["kept"] < 20 < found["given back"]
