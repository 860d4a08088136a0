"""Compiling networks for the CPU, where that pays for itself."""

import logging
from collections.abc import Callable
from typing import Any

import torch

from extractors.hardware import cpp_compiler

# Measured on two cores with AVX-512 and bfloat16 units: compiling takes 30 to 40 s when nothing is cached.
_SECONDS = 40.0
_WORTH = 2.0  # compile only if it saves twice what it costs


def pays(saved: float) -> bool:
    """Tell whether compiling pays for itself.

    Args:
        saved: Seconds that the compiled network will save in all.
    """
    return saved >= _WORTH * _SECONDS


def compiled(network: Any, run: Callable[[Any], object], windows: int) -> tuple[Any, str]:
    """Compile a network, or leave it as it is where that is impossible.

    Args:
        network: A module for inference.
        run: Runs what it is given, once, as the network will be run.
        windows: How many of them are to come, for the line that is returned.

    Returns:
        The network to use, and a line that says what was done.
    """
    if cpp_compiler() is None:
        return network, "not compiled: no C++ compiler here (g++ or clang++); runs as it is, slower"
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses a GPU here
    made = torch.compile(network, options={"freezing": True})
    try:
        run(made)
    except Exception as error:  # a compiler that does not work, no headers of Python, a full disk
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        return network, f"not compiled: the C++ compiler failed ({reason}); runs as it is, slower"
    return made, f"compiled the network, which pays for itself over {windows} windows"
