"""The network of `bilstm`: two bidirectional layers and attention over frames (SYSTEMS 2.6)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class AttentiveBiLSTM(nn.Module):
    """Two bidirectional layers, a score per frame, a masked softmax, a weighted sum, K logits.

    Args:
        inputs: D.
        classes: K.
        hidden: Units per direction.
        dropout: Between the layers, inside the attention, and on its scores.
    """

    def __init__(self, inputs: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            inputs, hidden, num_layers=2, bidirectional=True, dropout=dropout, batch_first=True
        )
        self.attention = nn.Sequential(
            nn.Linear(2 * hidden, 2 * hidden),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden, 1),
            nn.Tanh(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(2 * hidden, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Classify padded sequences.

        Args:
            x: `[N, T, D]`, padded on the right with anything.
            lengths: `[N]` real frames, on the CPU.

        Returns:
            `[N, K]` logits and `[N, T']` attention weights: 0 on padding, each row summing to 1.
        """
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # [N, T', 2H]
        scores = self.attention(states).squeeze(-1)
        frames = torch.arange(scores.shape[1])
        weights = scores.masked_fill(frames >= lengths[:, None], -torch.inf).softmax(dim=1)
        return self.out((weights[:, :, None] * states).sum(dim=1)), weights


def posteriors(
    network: AttentiveBiLSTM, clips: Sequence[NDArray[np.float32]], batch: int
) -> NDArray[np.float64]:
    """Return `[N, K]` posteriors of N arrays `[T_i, D]`; the batch a clip meets does not change them."""
    out = np.empty((len(clips), network.out.out_features))
    network.eval()
    with torch.inference_mode():
        for rows in _by_length(clips, batch):
            lengths = torch.tensor([len(clips[i]) for i in rows])
            padded = nn.utils.rnn.pad_sequence([torch.from_numpy(clips[i]) for i in rows], batch_first=True)
            out[rows] = network(padded, lengths)[0].double().softmax(dim=1).numpy()
    return out


def _by_length(clips: Sequence[NDArray[np.float32]], batch: int) -> Iterator[list[int]]:
    """Yield row numbers in batches of similar length, so that little is padding."""
    order = sorted(range(len(clips)), key=lambda i: (len(clips[i]), i))
    for first in range(0, len(order), batch):
        yield order[first : first + batch]
