"""EfficientFace (Zhao et al. 2021): what it sees in a face."""

from typing import TYPE_CHECKING

from extractors.faces.embedding import FaceEmbedding
from extractors.registry import EXTRACTORS
from extractors.weights import Weights, load_state_dict

if TYPE_CHECKING:
    from torch import nn

_CLASSIFIER = ("fc.weight", "fc.bias")


@EXTRACTORS.register("efficientface")
class EfficientFace(FaceEmbedding):
    """1,024 values per frame; SYSTEMS 3.4. See `FaceEmbedding` for the arguments.

    Its checkpoint must fill the network to the last parameter; the classifier in it, if there is one, is
    left out. The network was trained on pictures whose colours are blue, green, red.
    """

    network = "efficientface"

    @property
    def width(self) -> int:
        """The channels of the last convolution."""
        return 1024

    def build(self, weights: Weights) -> "nn.Module":
        """Return the network up to its classifier."""
        from extractors.faces.efficientface_trunk import Trunk
        from extractors.filling import fill, unwrapped
        from extractors.folding import fold_batch_norms

        trunk = Trunk()
        if weights.path is not None:
            state = unwrapped(load_state_dict(weights.path))
            kept = {k: v for k, v in state.items() if k not in _CLASSIFIER}
            fill(trunk, kept, f"{weights.path}: does not fit {self.network}")
        trunk.eval()
        fold_batch_norms(trunk)
        return trunk
