"""Attentive BiLSTMs that are trained side by side: both directions of all of them in one product per frame.

A small recurrent network spends its time on calls, not on sums: one step of one direction of one network is a
product of 64 x 50 x 200. Stacked, five networks need a tenth of the calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_LONG_NORM = 1.0


class _Recurrence(torch.autograd.Function):
    """One LSTM layer of G networks at once, from the products of its inputs.

    Gates in the order i, f, o, g, so that the three sigmoids lie together. What belongs to one frame is
    worked on while it is in the cache; whole tensors over all frames would not fit.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        """Return `[T, G, B, H]` outputs of `[T, G, B, 4H]` input products and `[G, H, 4H]` weights."""
        gates = torch.empty(inputs.shape)
        frames, networks, batch, width = gates.shape
        size = width // 4
        cells, squashed, out = (torch.empty(frames, networks, batch, size) for _ in range(3))
        for t in range(frames):
            now = gates[t]
            if t:
                torch.add(inputs[t], torch.bmm(out[t - 1], weights), out=now)
            else:
                now.copy_(inputs[t])
            now[..., : 3 * size].sigmoid_()
            now[..., 3 * size :].tanh_()
            i, f, o, g = now.chunk(4, dim=-1)
            torch.mul(i, g, out=cells[t])
            if t:
                cells[t].addcmul_(f, cells[t - 1])
            torch.tanh(cells[t], out=squashed[t])
            torch.mul(o, squashed[t], out=out[t])
        ctx.save_for_backward(gates, cells, squashed, out, weights)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Go back through time."""
        gates, cells, squashed, out, weights = ctx.saved_tensors
        size = cells.shape[-1]
        delta = torch.empty_like(gates)
        back = weights.transpose(1, 2).contiguous()
        one, carried, later = torch.ones(1), torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
        for t in reversed(range(len(gates))):
            now, d = gates[t], delta[t]
            i, f, o, g = now.chunk(4, dim=-1)
            d_i, d_f, d_o, d_g = d.chunk(4, dim=-1)
            later += gradients[0][t]
            torch.mul(later, squashed[t], out=d_o)
            carried.addcmul_(later * o, torch.addcmul(one, squashed[t], squashed[t], value=-1))
            torch.mul(carried, g, out=d_i)
            torch.mul(carried, i, out=d_g)
            if t:
                torch.mul(carried, cells[t - 1], out=d_f)
            else:
                d_f.zero_()
            sigmoids = now[..., : 3 * size]
            d[..., : 3 * size].mul_(torch.addcmul(sigmoids, sigmoids, sigmoids, value=-1))
            d_g.mul_(torch.addcmul(one, g, g, value=-1))
            carried *= f
            torch.bmm(d, back, out=later)
        previous = out[:-1].transpose(0, 1).flatten(1, 2)  # [G, (T - 1) B, H]
        following = delta[1:].transpose(0, 1).flatten(1, 2)
        return delta, torch.bmm(previous.transpose(1, 2), following)


@dataclass(frozen=True)
class Task:
    """What one network is trained on.

    Attributes:
        fit: The clips that it learns from.
        held: The clips that decide when it stops.
        y: `[N]` class indices of all clips; those of others are not looked at.
        clips: `[N]` tensors `[T_i, D]`, scaled for this network.
        seed: Of weights, order and dropout.
    """

    fit: NDArray[np.int64]
    held: NDArray[np.int64]
    y: Tensor
    clips: Sequence[Tensor]
    seed: int


class Stack:
    """Networks of one shape, every parameter in one tensor `[M, ...]`.

    Args:
        modules: `AttentiveBiLSTM`s.
        dropout: See there.
    """

    def __init__(self, modules: Sequence[nn.Module], dropout: float) -> None:
        self.dropout = dropout
        states = [m.state_dict() for m in modules]
        self.names = list(states[0])
        self.parameters = {n: torch.stack([s[n] for s in states]) for n in self.names}
        self._means = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self._squares = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self._clock = torch.zeros(len(modules))

    def __len__(self) -> int:
        return len(self._clock)

    def state(self, place: int) -> dict[str, Tensor]:
        """Return a network's parameters."""
        return {n: p[place].clone() for n, p in self.parameters.items()}

    def keep(self, places: Sequence[int]) -> None:
        """Let the other networks go."""
        chosen = torch.tensor(places, dtype=torch.long)
        for group in (self.parameters, self._means, self._squares):
            group.update({n: p[chosen] for n, p in group.items()})
        self._clock = self._clock[chosen]

    def logits(
        self,
        parameters: dict[str, Tensor],
        batches: Sequence[Sequence[Tensor]],
        dice: Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """Return `[M, B, K]`.

        Args:
            parameters: Of M networks.
            batches: The clips that each network sees; of unequal number, the rest of the rows are empty.
            dice: One per network, to drop values with; None drops nothing.
        """
        most = max(len(b) for b in batches)
        lengths = torch.ones(len(batches), most, dtype=torch.long)
        for m, batch in enumerate(batches):
            lengths[m, : len(batch)] = torch.tensor([len(c) for c in batch])
        frames = int(lengths.max())
        x = torch.zeros(len(batches), most, frames, batches[0][0].shape[1])
        for m, batch in enumerate(batches):
            for b, clip in enumerate(batch):
                x[m, b, : len(clip)] = clip
        own = [int(lengths[m, : len(b)].max()) for m, b in enumerate(batches)]

        def dropped(values: Tensor) -> Tensor:
            """Drop values of `[M, B, T, ...]`, each network by its own dice and its own longest clip."""
            if dice is None or self.dropout == 0:
                return values
            mask = torch.zeros_like(values)
            for m, batch in enumerate(batches):
                part = mask[m, : len(batch), : own[m]]
                part.copy_(torch.rand(part.shape, generator=dice[m]) >= self.dropout)
            return values * mask / (1 - self.dropout)

        places = torch.arange(frames)
        turned = torch.where(places < lengths[:, :, None], lengths[:, :, None] - 1 - places, places)
        states = _layer(parameters, 0, x, turned)
        states = _layer(parameters, 1, dropped(states), turned)
        inner = torch.tanh(_linear(parameters, "attention.0", states))
        scores = torch.tanh(_linear(parameters, "attention.3", dropped(inner)))
        scores = dropped(scores).squeeze(-1).masked_fill(places >= lengths[:, :, None], -torch.inf)
        pooled = (scores.softmax(dim=2)[:, :, :, None] * states).sum(dim=2)
        return torch.baddbmm(
            parameters["out.bias"][:, None], pooled, parameters["out.weight"].transpose(1, 2)
        )

    def step(
        self,
        batches: Sequence[Sequence[Tensor]],
        y: Tensor,
        weight: Tensor,
        dice: Sequence[torch.Generator],
        lr: float,
    ) -> None:
        """Take one step of Adam with the first networks of the stack, as many as there are batches.

        Args:
            batches: The clips of each network.
            y: `[M, B]` classes; -1 where a network has fewer clips.
            weight: `[M, K]` class weights.
            dice: One per network.
            lr: Learning rate.
        """
        count = len(batches)
        active = {n: p[:count].detach().requires_grad_(True) for n, p in self.parameters.items()}
        log_p = self.logits(active, batches, dice).log_softmax(dim=2)
        chosen = weight.gather(1, y.clamp(min=0)) * (y >= 0)
        nll = -log_p.gather(2, y.clamp(min=0)[:, :, None])[:, :, 0]
        loss = ((nll * chosen).sum(dim=1) / chosen.sum(dim=1)).sum()
        gradients = dict(zip(active, torch.autograd.grad(loss, list(active.values())), strict=True))
        with torch.no_grad():
            squared = sum(g.flatten(1).square().sum(dim=1) for g in gradients.values())
            shrink = (_LONG_NORM / (torch.as_tensor(squared).sqrt() + 1e-6)).clamp(max=1.0)
            self._clock[:count] += 1
            for name, gradient in gradients.items():
                wide = (-1, *[1] * (gradient.dim() - 1))
                clock = self._clock[:count].view(wide)
                gradient.mul_(shrink.view(wide))
                mean, square = self._means[name][:count], self._squares[name][:count]
                mean.lerp_(gradient, 1 - _BETA1)
                square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
                root = (square / (1 - _BETA2**clock)).sqrt_().add_(_EPSILON)
                self.parameters[name][:count] -= lr * mean / (1 - _BETA1**clock) / root


def _layer(parameters: dict[str, Tensor], layer: int, x: Tensor, turned: Tensor) -> Tensor:
    """Return `[M, B, T, 2H]` of `[M, B, T, D]`: forwards, and backwards from each clip's own end."""
    networks, batch, frames, width = x.shape
    index = turned[:, :, :, None]
    both = torch.stack([x, x.gather(2, index.expand_as(x))], dim=1)  # [M, 2, B, T, D]

    def pair(name: str) -> Tensor:
        parts = [parameters[f"lstm.{name}_l{layer}{end}"] for end in ("", "_reverse")]
        i, f, g, o = torch.stack(parts, dim=1).flatten(0, 1).chunk(4, dim=1)  # torch's order
        return torch.cat([i, f, o, g], dim=1)  # [2M, 4H, ...]

    bias = (pair("bias_ih") + pair("bias_hh"))[:, None]
    rows = both.permute(0, 1, 3, 2, 4).reshape(2 * networks, frames * batch, width)
    products = torch.baddbmm(bias, rows, pair("weight_ih").transpose(1, 2))
    timed = products.view(2 * networks, frames, batch, -1).transpose(0, 1)
    out = _Recurrence.apply(timed, pair("weight_hh").transpose(1, 2).contiguous())
    out = out.view(frames, networks, 2, batch, -1).permute(1, 2, 3, 0, 4)  # [M, 2, B, T, H]
    ahead, back = out[:, 0], out[:, 1]
    return torch.cat([ahead, back.gather(2, index.expand_as(back))], dim=-1)


def _linear(parameters: dict[str, Tensor], name: str, values: Tensor) -> Tensor:
    """Apply one linear layer per network to `[M, B, T, D]`."""
    flat = values.flatten(1, 2)
    out = torch.baddbmm(
        parameters[f"{name}.bias"][:, None], flat, parameters[f"{name}.weight"].transpose(1, 2)
    )
    return out.view(*values.shape[:-1], -1)


def train(
    modules: Sequence[nn.Module],
    tasks: Sequence[Task],
    score: Any,
    *,
    dropout: float,
    lr: float,
    batch: int,
    max_epochs: int,
    patience: int,
) -> list[tuple[dict[str, Tensor], int]]:
    """Train networks side by side, each until its held-out clips have stopped getting better.

    Args:
        modules: Their initial weights.
        tasks: What each is trained on.
        score: `(truth, guesses) -> float`, of the held-out clips; the weights of the best epoch are kept.
        dropout: See `AttentiveBiLSTM`.
        lr: Learning rate of Adam.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs without a better score before one stops.

    Returns:
        The weights kept and their epoch, from 1, in the order of the tasks. Each network has its own
        random numbers, so that it does not depend on the others but for the last bits of its sums.
    """
    # Those with the most steps first: where an epoch is over for some, the others still lie together.
    steps = [math.ceil(len(t.fit) / batch) for t in tasks]
    order = sorted(range(len(tasks)), key=lambda i: -steps[i])
    stack = Stack([modules[i] for i in order], dropout)
    dice = {i: torch.Generator().manual_seed(tasks[i].seed) for i in order}
    classes = modules[0].out.out_features  # type: ignore[union-attr]
    weights = {i: _balanced(tasks[i], int(str(classes))) for i in order}
    best: dict[int, tuple[float, dict[str, Tensor], int]] = {}
    active = list(order)
    for epoch in range(1, max_epochs + 1):
        drawn = {
            i: tasks[i].fit[torch.randperm(len(tasks[i].fit), generator=dice[i]).numpy()] for i in active
        }
        for step in range(steps[active[0]]):
            now = [i for i in active if steps[i] > step]
            rows = [drawn[i][step * batch : (step + 1) * batch] for i in now]
            y = torch.full((len(now), max(map(len, rows))), -1)
            for m, (i, own) in enumerate(zip(now, rows, strict=True)):
                y[m, : len(own)] = tasks[i].y[own]
            stack.step(
                [[tasks[i].clips[c] for c in own] for i, own in zip(now, rows, strict=True)],
                y,
                torch.stack([weights[i] for i in now]),
                [dice[i] for i in now],
                lr,
            )
        for place, (i, value) in enumerate(
            zip(active, _scores(stack, active, tasks, score, batch), strict=True)
        ):
            if i not in best or value > best[i][0]:
                best[i] = value, stack.state(place), epoch
        keep = [place for place, i in enumerate(active) if epoch - best[i][2] < patience]
        if len(keep) < len(active):
            active = [active[place] for place in keep]
            stack.keep(keep)
        if not active:
            break
    return [best[i][1:] for i in range(len(tasks))]


def _balanced(task: Task, classes: int) -> Tensor:
    counts = torch.bincount(task.y[task.fit], minlength=classes).float()
    return len(task.fit) / (classes * counts)


def _scores(
    stack: Stack, active: Sequence[int], tasks: Sequence[Task], score: Any, batch: int
) -> list[float]:
    """Score the held-out clips of each network; clips of nearly equal length go together."""
    orders = []
    for i in active:
        lengths = {c: len(tasks[i].clips[c]) for c in tasks[i].held.tolist()}
        orders.append(sorted(lengths, key=lambda c, lengths=lengths: (lengths[c], c)))  # type: ignore[misc]
    guesses: list[list[int]] = [[] for _ in active]
    with torch.inference_mode():
        for first in range(0, max(map(len, orders)), batch):
            now = [m for m, own in enumerate(orders) if len(own) > first]
            parts = [orders[m][first : first + batch] for m in now]
            chosen = torch.tensor(now)
            parameters = {n: p[chosen] for n, p in stack.parameters.items()}
            clips = [[tasks[active[m]].clips[c] for c in own] for m, own in zip(now, parts, strict=True)]
            found = stack.logits(parameters, clips).argmax(dim=2)
            for m, own, row in zip(now, parts, found, strict=True):
                guesses[m] += row[: len(own)].tolist()
    return [
        score(tasks[i].y[own].numpy(), np.array(g)) for i, own, g in zip(active, orders, guesses, strict=True)
    ]
