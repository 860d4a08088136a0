"""The names that experiments use, apart from the networks, which take PyTorch to import."""

from typing import Literal

Way = Literal["lt", "it", "ia"]
Dropout = Literal["softhard", "noise", "nodropout"]
