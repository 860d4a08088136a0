"""Fusers of sequences in training, against plain loops that pad every clip to the longest of the corpus.

Clips are as long as RAVDESS's low-level descriptors (289 to 523 rows of 10 ms, 25 values), the face is one
row of 35 action units. One epoch of `self-attention` ("ia", softhard) and of a narrow `versatile`.
"""

import contextlib
import ctypes
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from turns import compare

from classifiers import Frames
from classifiers.frame_training import Collator, Schedule, train
from classifiers.network_head import ClassTargets
from fusion.sequences.modality_dropout import softhard
from fusion.sequences.self_attention_network import SelfAttentionNetwork
from fusion.sequences.versatile_network import Shape, VersatileNetwork
from fusion.sequences.versatile_training import Settings, Trainer

CLASSES, VOICE, FACE = 8, 25, 35
WIDTH, HEADS, KERNEL, BATCH = 64, 4, 15, 16
_Pairs = list[tuple[Frames, ...]]


def corpus(clips: int) -> tuple[_Pairs, NDArray[np.str_]]:
    """Return clips as long as those of RAVDESS, and their classes."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.normal(367, 35, clips), 289, 523).astype(int)
    lengths[0] = 523
    y = np.arange(clips) % CLASSES

    def frames(rows: int, width: int, label: int) -> Frames:
        edges = np.arange(rows + 1) / 100
        values = (rng.normal(size=(rows, width)) + label).astype(np.float32)
        return Frames(values, np.column_stack([edges[:-1], edges[1:]]), np.ones(rows, np.bool_))

    X: _Pairs = [
        (frames(t, VOICE, c), frames(1, FACE, c)) for t, c in zip(lengths.tolist(), y.tolist(), strict=True)
    ]
    return X, np.array([str(c) for c in y])


def padded(X: _Pairs) -> tuple[Tensor, Tensor]:
    """Return `[N, T, D]` of voice, zeros up to the longest clip, and of face."""
    longest = max(len(voice.values) for voice, _ in X)
    voice = np.zeros((len(X), longest, VOICE), np.float32)
    for row, (frames, _) in zip(voice, X, strict=True):
        row[: len(frames.values)] = frames.values
    return torch.from_numpy(voice), torch.from_numpy(np.stack([face.values for _, face in X]))


class PlainFusion(nn.Module):
    """The network of "ia" from PyTorch's own layers, on padded tensors."""

    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int, shrinks: bool) -> list[nn.Module]:
            convolution = nn.Conv1d(a, b, 3, padding=0 if shrinks else 1)
            return [convolution, nn.BatchNorm1d(b), nn.ReLU(), *([nn.MaxPool1d(2, 1)] if shrinks else [])]

        self.a1, self.a2 = (
            nn.Sequential(*block(x, y, True), *block(y, z, True))
            for x, y, z in ((VOICE, 64, 128), (128, 256, 128))
        )
        self.v1, self.v2 = (
            nn.Sequential(*block(x, y, False), *block(y, z, False))
            for x, y, z in ((FACE, 64, 64), (64, 128, 128))
        )
        self.qa, self.ka, self.qv, self.kv = (
            nn.Linear(128, 128),
            nn.Linear(64, 128),
            nn.Linear(64, 64),
            nn.Linear(128, 64),
        )
        self.out = nn.Linear(256, CLASSES)

    def forward(self, voice: Tensor, face: Tensor) -> Tensor:
        """Return `[N, K]` logits."""
        a, v = self.a1(voice.transpose(1, 2)), self.v1(face.transpose(1, 2))
        at, vt = a.transpose(1, 2), v.transpose(1, 2)
        on_face = (self.qa(at) @ self.ka(vt).transpose(1, 2) / math.sqrt(128)).softmax(dim=2).sum(dim=1)
        on_voice = (self.qv(vt) @ self.kv(at).transpose(1, 2) / 8).softmax(dim=2).sum(dim=1)
        a, v = self.a2(a * on_voice[:, None]), self.v2(v * on_face[:, None])
        logits: Tensor = self.out(torch.cat([a.mean(2), v.mean(2)], 1))
        return logits


def as_the_system_has_it() -> None:
    """Let memory be had and given back as glibc does it by itself, which a plain loop leaves as it is."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for what, usual in ((-4, 65_536), (-3, 128 * 1024), (-1, 128 * 1024)):  # malloc.h
            libc.mallopt(what, usual)


def plain_fusion(X: _Pairs, y: NDArray[np.str_]) -> None:
    """Train "ia" with softhard for an epoch."""
    as_the_system_has_it()
    voice, face = padded(X)
    truth = torch.from_numpy(y.astype(int))
    network = PlainFusion()
    optimiser = torch.optim.SGD(network.parameters(), 0.04, 0.9, 0.9, 1e-3)
    for rows in torch.randperm(len(X)).split(8):
        a, v, alpha = voice[rows], face[rows], torch.rand(len(rows), 1, 1)
        many_a = torch.cat([a, alpha * a, torch.zeros_like(a), a])
        many_v = torch.cat([v, (1 - alpha) * v, v, torch.zeros_like(v)])
        loss = functional.cross_entropy(network(many_a, many_v), truth[rows].repeat(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


class PlainConformer(nn.Module):
    """A conformer layer on padded tensors: attention written out, PyTorch's own dropout."""

    def __init__(self) -> None:
        super().__init__()
        W = WIDTH

        def feed_forward() -> nn.Sequential:
            return nn.Sequential(
                nn.LayerNorm(W),
                nn.Linear(W, 4 * W),
                nn.SiLU(),
                nn.Dropout(0.1),
                nn.Linear(4 * W, W),
                nn.Dropout(0.1),
            )

        self.f1, self.f2, self.norm, self.last = (
            feed_forward(),
            feed_forward(),
            nn.LayerNorm(W),
            nn.LayerNorm(W),
        )
        self.qkv, self.far, self.out = nn.Linear(W, 3 * W), nn.Linear(W, W, bias=False), nn.Linear(W, W)
        self.gate = nn.Sequential(nn.LayerNorm(W), nn.Linear(W, 2 * W), nn.GLU())
        self.depth, self.bn = nn.Conv1d(W, W, KERNEL, padding=KERNEL // 2, groups=W), nn.BatchNorm1d(W)
        self.mix, self.drop = nn.Sequential(nn.SiLU(), nn.Linear(W, W), nn.Dropout(0.1)), nn.Dropout(0.1)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Return `[N, T, width]`."""
        x = x + 0.5 * self.f1(x)
        N, T, W = x.shape
        q, k, v = (p.view(N, T, HEADS, -1).transpose(1, 2) for p in self.qkv(self.norm(x)).chunk(3, dim=-1))
        steps = torch.arange(T - 1, -T, -1.0)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, W, 2) / W)
        far = (
            self.far(torch.cat([steps.sin(), steps.cos()], dim=1)).view(2 * T - 1, HEADS, -1).permute(1, 2, 0)
        )
        shifted = functional.pad(q @ far, (0, 1)).flatten(2)[:, :, T - 1 : T - 1 + T * (2 * T - 1)]
        scores = (q @ k.transpose(2, 3) + shifted.unflatten(2, (T, 2 * T - 1))[..., :T]) / math.sqrt(
            W / HEADS
        )
        weights = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=-1)
        x = x + self.drop(self.out((weights @ v).transpose(1, 2).flatten(2)))
        gated = (self.gate(x) * real[:, :, None]).transpose(1, 2)
        x = x + self.mix(self.bn(self.depth(gated)).transpose(1, 2))
        out: Tensor = self.last(x + 0.5 * self.f2(x))
        return out


class PlainVersatile(nn.Module):
    """Encoders of both, a shared layer, three answers and two reconstructions, on padded tensors."""

    def __init__(self) -> None:
        super().__init__()
        widths = (VOICE, FACE)
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Linear(w, 32, bias=False), nn.Linear(32, WIDTH), nn.Dropout(0.1)) for w in widths
        )
        self.own = nn.ModuleList(PlainConformer() for _ in widths)
        self.shared, self.norm = PlainConformer(), nn.LayerNorm(WIDTH)
        self.answers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(n * WIDTH, WIDTH),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(WIDTH, 32),
                nn.Linear(32, CLASSES),
            )
            for n in (1, 1, 2)
        )
        self.back = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, w)) for w in widths
        )

    def encode(self, place: int, x: Tensor, real: Tensor) -> Tensor:
        """Return `[N, width]`."""
        h = self.own[place](self.narrow[place](x), real)
        h = self.norm(self.shared(h, real) + h) * real[:, :, None]
        mean: Tensor = h.sum(dim=1) / real.sum(dim=1, keepdim=True)
        return mean


def plain_versatile(X: _Pairs, y: NDArray[np.str_]) -> None:
    """Train it for an epoch, three updates per batch."""
    as_the_system_has_it()
    inputs, truth = padded(X), torch.from_numpy(y.astype(int))
    lengths = torch.tensor([len(voice.values) for voice, _ in X])
    real = (torch.arange(inputs[0].shape[1]) < lengths[:, None], torch.ones(len(X), 1, dtype=torch.bool))
    network = PlainVersatile()
    parts = [
        [network.narrow[p], network.own[p], network.shared, network.norm, network.answers[p], network.back[p]]
        for p in (0, 1)
    ] + [[network.answers[2]]]
    optimisers = [torch.optim.Adam([q for m in own for q in m.parameters()], 1e-3) for own in parts]
    for rows in torch.randperm(len(X)).split(BATCH):
        for p in (0, 1):
            network.train()
            x, there = inputs[p][rows], real[p][rows]
            h = network.encode(p, x, there)
            wanted = (x * there[:, :, None]).sum(dim=1) / there.sum(dim=1, keepdim=True)
            loss = functional.cross_entropy(network.answers[p](h), truth[rows])
            loss = loss + 2 * functional.mse_loss(network.back[p](h), wanted)
            optimisers[p].zero_grad()
            loss.backward()
            optimisers[p].step()
        network.eval()
        with torch.no_grad():
            both = torch.cat([network.encode(p, inputs[p][rows], real[p][rows]) for p in (0, 1)], dim=1)
        network.answers[2].train()
        loss = functional.cross_entropy(network.answers[2](both), truth[rows])
        optimisers[2].zero_grad()
        loss.backward()
        optimisers[2].step()


def fusion_epoch(X: _Pairs, y: NDArray[np.str_]) -> None:
    """Train "ia" with softhard for an epoch, as `self-attention` does."""
    targets = ClassTargets(y.astype(np.int64), None)
    schedule = Schedule(0.04, 0.9, 0.9, 1e-3, 8, 1, (), None)
    network = SelfAttentionNetwork(VOICE, FACE, CLASSES, "ia")
    every = np.arange(len(X))
    train(network, X, targets, every, every[:8], Collator([VOICE, FACE], [1, 1]), schedule, 0, softhard)


def versatile_epoch(X: _Pairs, y: NDArray[np.str_]) -> None:
    """Train it for an epoch, as `versatile` does."""
    network = VersatileNetwork([VOICE, FACE], CLASSES, Shape(WIDTH, 32, 1, 1, HEADS, KERNEL, 0.1, 0.2))
    targets = np.eye(CLASSES, dtype=np.float32)[y.astype(int)]
    settings = Settings(1e-3, 5e-7, BATCH, 1, None, 2.0, 0)
    collate = Collator([VOICE, FACE], [1, 1])
    every = np.arange(len(X))
    Trainer(network, X, targets, collate, functional.cross_entropy, settings).train(every, every[:8])


def main() -> None:
    """Measure both."""
    X, y = corpus(96)
    compare(
        "self-attention (ia, softhard), an epoch of 96 clips of 289 to 523 rows, against padding to 523",
        lambda: fusion_epoch(X, y),
        lambda: plain_fusion(X, y),
        rounds=3,
    )
    compare(
        "versatile (width 64), the same",
        lambda: versatile_epoch(X, y),
        lambda: plain_versatile(X, y),
        rounds=3,
    )


if __name__ == "__main__":
    main()
