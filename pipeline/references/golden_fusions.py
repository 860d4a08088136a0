"""Golden vectors of katerynaCh's self-attention fusions: pairs of `<way>_heads<n>.pt` and `.npz`.

A pair holds a state dict of the network without its frame trunk, and `visual_features [N, Tv, 1024]`,
`audio_mfcc [N, 10, Ta]`, `logits [N, 8]` (SYSTEMS 3.5 and 3.6).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from pipeline.references.distance import distance, read_arrays
from pipeline.references.figure import Figure

if TYPE_CHECKING:
    from torch import Tensor

    from classifiers.frames import FrameBatch

PATTERN = "*_heads*.pt"
_NAME = re.compile(r"(lt|it|ia)_heads([0-9]+)")
# What their modules are called, and ours; their classifiers of one branch take no part in a fusion.
_PARTS = (
    (r"(audio|visual)_model\.classifier_1\..*", ""),
    (r"(audio|visual)_model\.conv1d_([01])\.", r"\1.stage1.\2."),
    (r"(audio|visual)_model\.conv1d_2\.", r"\1.stage2.0."),
    (r"(audio|visual)_model\.conv1d_3\.", r"\1.stage2.1."),
    (r"(stage[12]\.[01])\.0\.", r"\1.convolution."),
    (r"(stage[12]\.[01])\.1\.", r"\1.normalise."),
    (r"^av1?\.", "audio_attends."),
    (r"^va1?\.", "visual_attends."),
    (r"\.norm1_q\.", ".normalise_query."),
    (r"\.norm1_k\.", ".normalise_key."),
    (r"\.norm2\.", ".normalise."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.fc1\.", ".perceptron.0."),
    (r"\.mlp\.fc2\.", ".perceptron.2."),
    (r"\.q\.weight", ".query.weight"),
    (r"\.kv\.weight", ".key_value.weight"),
    (r"\.proj\.", ".out."),
    (r"^classifier_1\.0\.", "out."),
)


def figures(folder: Path) -> Iterator[Figure]:
    """Yield how far the logits of each fusion are from its golden vector."""
    for path in sorted(folder.glob(PATTERN)):
        name = f"{folder.name} {path.stem}"
        try:
            arrays = read_arrays(path.with_suffix(".npz"), ["visual_features", "audio_mfcc", "logits"])
            yield distance(name, _logits(path, arrays), arrays["logits"])
        except AffectstackError as error:
            yield distance(f"{name}: {error}", None, None)


def renamed(state: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return a state dict of theirs as one of `SelfAttentionNetwork`."""
    out = {}
    for name, tensor in state.items():
        for pattern, ours in _PARTS:
            name = re.sub(pattern, ours, name)
        if name:
            out[name] = tensor
    return out


def _logits(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    import torch

    from extractors.filling import fill
    from extractors.weights import load_state_dict
    from fusion.sequences.self_attention_network import SelfAttentionNetwork

    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise AffectstackError("expected a name such as ia_heads1.pt")
    sound, picture = arrays["audio_mfcc"].transpose(0, 2, 1), arrays["visual_features"]
    widths = sound.shape[2], picture.shape[2]
    network = SelfAttentionNetwork(*widths, arrays["logits"].shape[1], match[1], int(match[2]))  # type: ignore[arg-type]
    fill(network, renamed(load_state_dict(path)), f"{path.name} does not fit")
    with torch.inference_mode():
        logits: NDArray[np.float32] = network.eval()([_whole(sound), _whole(picture)]).numpy()
        return logits


def _whole(values: NDArray[np.float32]) -> "FrameBatch":
    """Return `[N, T, D]` as a batch."""
    import torch

    from classifiers.frames import FrameBatch

    rows = torch.from_numpy(values.reshape(-1, values.shape[2]))
    lengths = torch.full((len(values),), values.shape[1])
    return FrameBatch(rows, torch.ones(len(rows), dtype=torch.bool), lengths)
