"""Running a clip network: on whatever device is there, folded, channels last, compiled where that pays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from extractors.contract import FloatArray, Precision
from extractors.hardware import cpp_compiler, keep_freed_memory
from extractors.networks.body import Body
from extractors.networks.config import NetworkConfig
from extractors.weights import Card

# Measured on two cores with AVX-512 and bfloat16 units: compiling takes 40 s when nothing is cached.
_COMPILE_SECONDS, _SAVED_AT = 40.0, 224
_WORTH = 2.0  # compile only if it saves twice what it costs


class Runner:
    """A clip network from pixels to features.

    Args:
        body: The network, for inference.
        config: What it is.
        crop: Pixels of a side.
        precision: What it computes in; pooling stays in float32.
        card: Of its weights: what compiling was measured to save.
    """

    def __init__(
        self, body: Body, config: NetworkConfig, crop: int, precision: Precision, card: Card
    ) -> None:
        self.crop, self.frames, self.card = crop, config.DATA.NUM_FRAMES, card
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu":
            keep_freed_memory()
        body.quicken(self.device)
        self.body = body.to(self.device, self.dtype).to(memory_format=torch.channels_last_3d)
        self.run: Any = self.body
        self.batch = 16 if self.device.type == "cuda" else 1  # on the CPU, larger batches were not faster
        self._mean = torch.tensor(config.DATA.MEAN, device=self.device)
        self._std = torch.tensor(config.DATA.STD, device=self.device)
        self._tried = False

    def compile_for(self, windows: int) -> str:
        """Compile the network if it runs on the CPU and so many windows pay for it; say what was done."""
        each = self.card.compiling_saves_bf16 if self.dtype == torch.bfloat16 else self.card.compiling_saves
        saved = windows * each * (self.crop / _SAVED_AT) ** 2
        if self._tried or self.device.type != "cpu" or saved < _WORTH * _COMPILE_SECONDS:
            return ""
        self._tried = True
        if cpp_compiler() is None:
            return "not compiled: no C++ compiler here (g++ or clang++); runs as it is, up to a tenth slower"
        plain, self.run = self.run, torch.compile(self.run, options={"freezing": True})
        try:
            self(np.zeros((self.batch, self.frames, self.crop, self.crop, 3), np.uint8))
        except Exception as error:  # a compiler that does not work, no headers of Python, a full disk
            self.run = plain
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
            return f"not compiled: the C++ compiler failed ({reason}); runs as it is, up to a tenth slower"
        return f"compiled the network, which pays for itself over {windows} windows"

    def __call__(self, pixels: NDArray[np.uint8]) -> FloatArray:
        """Return `[N, D]` features of `[N, T, H, W, 3]` windows."""
        with torch.no_grad():  # what `freezing` wants; nothing here needs gradients
            pathways = self.body.pathways(self._normalised(pixels))
            return self.body.pool(self.run(pathways)).cpu().numpy()

    def _normalised(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Return `[N, 3, T, H, W]`, channels last in memory, which is how the pixels lie already."""
        values = torch.from_numpy(pixels).to(self.device).float().div_(255)
        return values.sub_(self._mean).div_(self._std).to(self.dtype).permute(0, 4, 1, 2, 3)
