"""The one vector that an image model of transformers gives for a picture."""

from typing import Any

from torch import Tensor, nn


class Vector(nn.Module):
    """An image model behind its vector.

    Args:
        model: What `AutoModel` gives.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        """Return `[N, D]` for `[N, 3, H, W]`."""
        if hasattr(self.model, "get_image_features"):
            found = self.model.get_image_features(pixel_values=pictures)
            return found if isinstance(found, Tensor) else found.pooler_output
        out = self.model(pixel_values=pictures)
        pooled = getattr(out, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        states: Tensor = out.last_hidden_state
        return states.mean(dim=1) if states.dim() == 3 else states.mean(dim=(2, 3))
