"""Running a clip network: on whatever device is there, folded, channels last, compiled where that pays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from affectstack.memory import keep_freed_memory
from extractors.compiling import compiled, pays
from extractors.contract import FloatArray, Precision
from extractors.networks.body import Body
from extractors.networks.config import NetworkConfig
from extractors.weights import Card

_SAVED_AT = 224  # pixels of a side, of which the card says what compiling saves


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
        if self._tried or self.device.type != "cpu" or not pays(saved):
            return ""
        self._tried = True
        pixels = np.zeros((self.batch, self.frames, self.crop, self.crop, 3), np.uint8)
        self.run, note = compiled(self.run, lambda network: self._features(network, pixels), windows)
        return note

    def __call__(self, pixels: NDArray[np.uint8]) -> FloatArray:
        """Return `[N, D]` features of `[N, T, H, W, 3]` windows."""
        return self._features(self.run, pixels)

    def _features(self, network: Any, pixels: NDArray[np.uint8]) -> FloatArray:
        with torch.no_grad():  # what `freezing` wants; nothing here needs gradients
            pathways = self.body.pathways(self._normalised(pixels))
            return self.body.pool(network(pathways)).cpu().numpy()

    def _normalised(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Return `[N, 3, T, H, W]`, channels last in memory, which is how the pixels lie already."""
        values = torch.from_numpy(pixels).to(self.device).float().div_(255)
        return values.sub_(self._mean).div_(self._std).to(self.dtype).permute(0, 4, 1, 2, 3)
