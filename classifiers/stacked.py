"""Perceptrons that are trained side by side: one matrix product for all of them.

Each goes through what scikit-learn's `MLPClassifier` does, with its random numbers: Glorot's initialisation,
shuffled batches of 200, Adam, and the stop after ten epochs whose training loss gained less than 1e-4. A
network that has stopped leaves the stack.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BATCH = 200
_RATE, _BETA1, _BETA2, _EPSILON = 1e-3, 0.9, 0.999, 1e-8
_TOLERANCE, _PATIENCE = 1e-4, 10


@dataclass(frozen=True)
class Problem:
    """What one network is trained on.

    Attributes:
        rows: `[n]`, its clips among all.
        y: `[n]` class indices.
        shift: `[D]`, subtracted from the features.
        factor: `[D]`, then multiplied with.
        seed: Of its weights and the order of its clips.
    """

    rows: NDArray[np.int64]
    y: NDArray[np.int64]
    shift: NDArray[np.float64]
    factor: NDArray[np.float64]
    seed: int


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        weights: One `[in, out]` per layer.
        biases: One `[out]` per layer.
        loss: Training loss of each epoch.
    """

    weights: list[NDArray[np.float32]]
    biases: list[NDArray[np.float32]]
    loss: list[float]


def train(
    X: NDArray[np.float32],
    problems: Sequence[Problem],
    hidden: Sequence[int],
    classes: int,
    alpha: float,
    max_iter: int,
) -> list[Network]:
    """Train networks side by side.

    Args:
        X: `[N, D]`, all clips, unscaled.
        problems: What each network is trained on.
        hidden: Units of each hidden layer.
        classes: K, of every problem.
        alpha: L2 penalty.
        max_iter: Most epochs.

    Returns:
        A network per problem. It does not depend on the others, but for the last bits of its sums.
    """
    features = torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: dict[int, Network] = {}
    # Networks with equally many batches in an epoch step together.
    steps = [math.ceil(len(p.rows) / min(_BATCH, len(p.rows))) for p in problems]
    for count in sorted(set(steps)):
        members = [i for i, s in enumerate(steps) if s == count]
        stack = _Stack(features.to(device), [problems[i] for i in members], hidden, classes, alpha)
        trained = stack.train(max_iter)
        found |= dict(zip(members, trained, strict=True))
    return [found[i] for i in range(len(problems))]


def predict(network: Network, X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `[N, K]` posteriors of scaled features."""
    values = np.asarray(X, dtype=np.float32)
    for i, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        values = values @ weights + bias
        if i < len(network.weights) - 1:
            values = np.maximum(values, 0)
    logits = values.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    logits -= logits.max(axis=1, keepdims=True)
    posteriors = np.exp(logits)
    return posteriors / posteriors.sum(axis=1, keepdims=True)


class _Stack:
    """Networks of equally many batches, all their parameters in one tensor per layer."""

    def __init__(
        self, X: Tensor, problems: Sequence[Problem], hidden: Sequence[int], classes: int, alpha: float
    ) -> None:
        self._X, self._alpha, self._problems = X, alpha, problems
        self._random = [np.random.RandomState(p.seed) for p in problems]
        # As scikit-learn has it: two classes share one output, whose sigmoid is the second one's posterior.
        sizes = [X.shape[1], *hidden, classes if classes > 2 else 1]
        layers = [[_initial(r, a, b) for a, b in itertools.pairwise(sizes)] for r in self._random]

        def stacked(pick: Callable[[tuple[Tensor, Tensor]], Tensor]) -> list[Tensor]:
            return [torch.stack([pick(own[i]) for own in layers]).to(X.device) for i in range(len(sizes) - 1)]

        self._parameters = [*stacked(lambda p: p[0]), *stacked(lambda p: p[1][None])]
        self._layers = len(sizes) - 1
        self._optimiser = torch.optim.Adam(self._parameters, lr=_RATE, betas=(_BETA1, _BETA2), fused=True)
        self._shift, self._factor = (
            torch.from_numpy(np.stack([getattr(p, name) for p in problems]).astype(np.float32)[:, None]).to(
                X.device
            )
            for name in ("shift", "factor")
        )
        longest = max(len(p.rows) for p in problems)
        self._rows, self._y = (torch.zeros(len(problems), longest, dtype=torch.long) for _ in range(2))
        for i, p in enumerate(problems):
            self._rows[i, : len(p.rows)], self._y[i, : len(p.rows)] = (
                torch.from_numpy(p.rows),
                torch.from_numpy(p.y),
            )
        self._clock = 0

    def train(self, max_iter: int) -> list[Network]:
        active = list(range(len(self._problems)))
        curves: list[list[float]] = [[] for _ in active]
        idle, best = [0] * len(active), [math.inf] * len(active)
        done: dict[int, Network] = {}
        orders = [np.arange(len(p.rows)) for p in self._problems]
        for epoch in range(max_iter):
            losses = self._epoch(active, orders)
            for i, loss in zip(active, losses, strict=True):
                curves[i].append(loss)
                idle[i] = idle[i] + 1 if loss > best[i] - _TOLERANCE else 0
                best[i] = min(best[i], loss)
            leaving = {i for i in active if idle[i] > _PATIENCE or epoch == max_iter - 1}
            for place, i in enumerate(active):
                if i in leaving:
                    done[i] = self._network(place, curves[i])
            if leaving:
                keep = [place for place, i in enumerate(active) if i not in leaving]
                active = [i for i in active if i not in leaving]
                self._keep(keep)
            if not active:
                break
        return [done[i] for i in range(len(self._problems))]

    def _epoch(self, active: Sequence[int], orders: list[NDArray[np.int64]]) -> list[float]:
        """Go through all batches once; return the mean training loss of each network."""
        for i in active:
            # What scikit-learn's shuffle does to the indices of the epoch before.
            places = np.arange(len(orders[i]))
            self._random[i].shuffle(places)
            orders[i] = orders[i][places]
        sums = torch.zeros(len(active), dtype=torch.float64)
        lengths = [len(orders[i]) for i in active]
        sizes = [min(_BATCH, n) for n in lengths]
        for step in range(math.ceil(lengths[0] / sizes[0])):
            parts = [orders[i][step * s : (step + 1) * s] for i, s in zip(active, sizes, strict=True)]
            sums += self._step(active, parts)
        return (sums / torch.tensor(lengths)).tolist()

    def _step(self, active: Sequence[int], parts: Sequence[NDArray[np.int64]]) -> Tensor:
        """Take one step of Adam; return the summed loss of each network's batch."""
        device, counts = self._X.device, torch.tensor([len(p) for p in parts])
        longest = int(counts.max())
        places = torch.zeros(len(parts), longest, dtype=torch.long)
        for i, part in enumerate(parts):
            places[i, : len(part)] = torch.from_numpy(part)
        which = torch.tensor(active)[:, None]
        rows, y = self._rows[which, places].to(device), self._y[which, places].to(device)
        real = (torch.arange(longest) < counts[:, None]).to(device, torch.float32)[:, :, None]
        share = (1 / counts.to(device, torch.float32))[:, None, None]
        weights, biases = self._parameters[: self._layers], self._parameters[self._layers :]
        values = [self._X[rows].sub_(self._shift).mul_(self._factor)]  # [M, B, D]
        for i in range(self._layers):
            values.append(torch.baddbmm(biases[i], values[-1], weights[i]))
            if i < self._layers - 1:
                values[-1].relu_()
        logits = values.pop()
        single = logits.shape[2] == 1
        log_p = _paired(logits).log_softmax(dim=2)
        loss = -(log_p.gather(2, y[:, :, None]) * real).sum(dim=(1, 2)).double()
        penalty = sum(torch.linalg.vector_norm(w, dim=(1, 2)).double() ** 2 for w in weights)
        delta = log_p.exp_()
        delta.scatter_add_(2, y[:, :, None], torch.full_like(y, -1, dtype=torch.float32)[:, :, None])
        delta.mul_(real * share)
        delta = delta[:, :, 1:].contiguous() if single else delta
        even = int(counts.min()) == longest
        for i in reversed(range(self._layers)):
            decay = weights[i] if even else weights[i] * share
            beta = self._alpha / longest if even else self._alpha
            weights[i].grad = torch.baddbmm(decay, values[i].transpose(1, 2), delta, beta=beta)
            biases[i].grad = delta.sum(dim=1, keepdim=True)
            if i:
                delta = torch.bmm(delta, weights[i].transpose(1, 2)).mul_(values[i] > 0)
        self._clock += 1
        # scikit-learn adds epsilon before it corrects the bias, torch after.
        self._optimiser.param_groups[0]["eps"] = _EPSILON / math.sqrt(1 - _BETA2**self._clock)
        self._optimiser.step()
        return (loss + 0.5 * self._alpha * penalty).cpu()

    def _network(self, place: int, curve: list[float]) -> Network:
        arrays = [p[place].cpu().numpy().copy() for p in self._parameters]
        weights, biases = arrays[: self._layers], [b[0] for b in arrays[self._layers :]]
        return Network(weights, biases, curve)

    def _keep(self, places: list[int]) -> None:
        """Let the networks that have stopped leave the stack, with all that Adam knows of them."""
        chosen = torch.tensor(places, dtype=torch.long, device=self._X.device)
        state = [self._optimiser.state[p] for p in self._parameters]
        self._parameters = [p[chosen] for p in self._parameters]
        self._optimiser = torch.optim.Adam(self._parameters, lr=_RATE, betas=(_BETA1, _BETA2), fused=True)
        for parameter, known in zip(self._parameters, state, strict=True):
            moments = {name: known[name][chosen] for name in ("exp_avg", "exp_avg_sq")}
            self._optimiser.state[parameter] = {"step": known["step"], **moments}
        self._shift, self._factor = self._shift[chosen], self._factor[chosen]


def _paired(logits: Tensor) -> Tensor:
    """Return a logit for both classes where there is one for the second alone."""
    return torch.cat([torch.zeros_like(logits), logits], dim=2) if logits.shape[2] == 1 else logits


def _initial(random: np.random.RandomState, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Return Glorot's uniform weights and biases, drawn as scikit-learn draws them."""
    bound = math.sqrt(6 / (inputs + outputs))
    weights = random.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
    biases = random.uniform(-bound, bound, outputs).astype(np.float32)
    return torch.from_numpy(weights), torch.from_numpy(biases)
