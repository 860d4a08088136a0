"""The training loop: one fold, resumable to the bit."""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from affectstack import AffectstackError
from pipeline.files import WriteError
from pipeline.finetuning.network import SpeechClassifier, padded

Sounds = Callable[[int], NDArray[np.float32]]
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """How a network learns; the defaults are those of Luna-Jimenez et al. 2022.

    Attributes:
        epochs: Times through the training clips.
        lr: Learning rate of AdamW, falling to 0 in a straight line.
        batch: Clips that go through the network together.
        accumulate: Batches per optimiser step.
        eval_every: Optimiser steps between two looks at the watched clips.
        save_every: Optimiser steps between two states to go on from.
        precision: Of the matrix products: "no" is float32.
        seed: Of the head, the order of clips and the dropout.
    """

    epochs: int = 10
    lr: float = 1e-4
    batch: int = 4
    accumulate: int = 2
    eval_every: int = 10
    save_every: int = 100
    precision: str = "no"
    seed: int = 2020


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes:
        step: The step whose weights were kept.
        accuracy: On the watched clips, then.
        steps: How many steps there were.
    """

    step: int
    accuracy: float
    steps: int


class Loop:
    """Trains one network.

    Every step draws its random numbers from its own number, so that a run that goes on after a kill takes
    the same steps as one that was not killed.

    Args:
        network: Untrained but for its encoder.
        sounds: Gives a piece of sound by its number, normalised.
        labels: `[N]` class of every piece.
        fit: The pieces that are learned from.
        watch: The pieces whose accuracy decides which weights are kept.
        settings: How.
        folder: Where states and scalars go.
    """

    def __init__(
        self,
        network: SpeechClassifier,
        sounds: Sounds,
        labels: NDArray[np.int64],
        fit: Sequence[int],
        watch: Sequence[int],
        settings: Settings,
        folder: Path,
    ) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state()  # another network of this process may have had another precision
        self._sounds, self._labels, self._fit, self._watch = sounds, labels, list(fit), list(watch)
        self._settings, self._folder = settings, folder
        self._accelerator = Accelerator(mixed_precision=settings.precision)
        optimiser = torch.optim.AdamW(
            [p for p in network.parameters() if p.requires_grad], lr=settings.lr, weight_decay=0.0
        )
        self.network, self._optimiser = self._accelerator.prepare(network, optimiser)
        per_step = settings.batch * settings.accumulate
        self._per_epoch = -(-len(self._fit) // per_step)
        self.steps = settings.epochs * self._per_epoch

    def run(self) -> Iterator[int]:
        """Train, yielding the number of steps done after each; the network ends with the weights kept."""
        from torch.utils.tensorboard import SummaryWriter

        step, best = self._resume()
        yield step
        with contextlib.closing(SummaryWriter(str(self._folder / "tensorboard"), purge_step=step)) as board:
            while step < self.steps:
                loss = self._step(step)
                step += 1
                board.add_scalar("loss", loss, step)
                board.add_scalar("lr", self._rate(step - 1), step)
                if step % self._settings.eval_every == 0 or step == self.steps:
                    accuracy = self._accuracy()
                    board.add_scalar("accuracy", accuracy, step)
                    if accuracy > best.accuracy:
                        best = Learned(step, accuracy, self.steps)
                        self._publish(f"best-{step}", self._bare().state_dict(), {})
                if step % self._settings.save_every == 0 or step == self.steps:
                    self._save(step, best)
                yield step
        self._bare().load_state_dict(self._read(f"best-{best.step}")[0])
        self.learned = best

    def logits(self, pieces: Sequence[int]) -> NDArray[np.float64]:
        """Return `[n, K]`, one clip after the other, so that nothing depends on padding."""
        self.network.eval()
        rows = []
        with torch.inference_mode():
            for i in pieces:
                sound, lengths = padded([self._sounds(i)])
                rows.append(self.network(*self._here(sound, lengths)).float().cpu().numpy()[0])
        return np.array(rows, dtype=np.float64)

    def forget(self) -> None:
        """Delete the states: the result was published."""
        for file in [*self._folder.glob("*.state"), *self._folder.glob(".*.state.*.tmp")]:
            file.unlink()

    def _step(self, step: int) -> float:
        """Take one optimiser step; return its mean loss."""
        s = self._settings
        epoch, place = divmod(step, self._per_epoch)
        order = np.random.default_rng([s.seed, epoch]).permutation(self._fit)
        own = order[place * s.batch * s.accumulate :][: s.batch * s.accumulate]
        seed = int(np.random.SeedSequence([s.seed, step]).generate_state(1)[0])
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # SpecAugment of transformers draws from this one
        self.network.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(step)
        total = 0.0
        for first in range(0, len(own), s.batch):
            part = own[first : first + s.batch]
            sound, lengths = self._here(*padded([self._sounds(i) for i in part]))
            y = torch.from_numpy(self._labels[part]).to(self._accelerator.device)
            with self._accelerator.autocast():
                loss = nn.functional.cross_entropy(self.network(sound, lengths).float(), y)
            self._accelerator.backward(loss * len(part) / len(own))
            total += float(loss.detach()) * len(part) / len(own)
        if not np.isfinite(total):
            raise AffectstackError(
                f"the loss is {total} at step {step + 1}; lower the learning rate (lr: {s.lr:g}), "
                "or compute in float32 (precision: no)"
            )
        self._accelerator.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        self._optimiser.step()
        self._optimiser.zero_grad()
        return total

    def _rate(self, step: int) -> float:
        return self._settings.lr * (1 - step / self.steps)

    def _accuracy(self) -> float:
        guesses = self.logits(self._watch).argmax(axis=1)
        return float(np.mean(guesses == self._labels[self._watch]))

    def _here(self, *tensors: Tensor) -> list[Tensor]:
        return [t.to(self._accelerator.device) for t in tensors]

    def _bare(self) -> nn.Module:
        bare: nn.Module = self._accelerator.unwrap_model(self.network)
        return bare

    def _save(self, step: int, best: Learned) -> None:
        """Publish all that is needed to go on; older states are of no use then."""
        tensors = {f"network.{k}": v for k, v in self._bare().state_dict().items()}
        for i, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
        scaler = self._accelerator.scaler  # fp16 alone has one; its scale decides which steps are skipped
        scale = None if scaler is None else scaler.state_dict()
        self._publish("last", tensors, {"step": step, "best": [best.step, best.accuracy], "scale": scale})
        for file in self._folder.glob("best-*.state"):
            if file.name != f"best-{best.step}.state":
                file.unlink()

    def _resume(self) -> tuple[int, Learned]:
        nothing = Learned(0, -1.0, self.steps)
        if not (self._folder / "last.state").is_file():
            return 0, nothing
        tensors, facts = self._read("last")
        network = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        self._bare().load_state_dict(network)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, number, field = name.split(".", 2)
                state.setdefault(int(number), {})[field] = value
        known = self._optimiser.state_dict()
        self._optimiser.load_state_dict({**known, "state": state})
        if facts.get("scale") and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(facts["scale"])
        return int(facts["step"]), Learned(int(facts["best"][0]), float(facts["best"][1]), self.steps)

    def _publish(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write tensors so that a reader sees the old file, the new one, and nothing between."""
        path = self._folder / f"{name}.state"
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp")
        try:
            plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
            save_file(plain, temporary, metadata={"facts": json.dumps(facts)})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            raise WriteError(f"cannot write {path}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        with safe_open(self._folder / f"{name}.state", framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118  # no mapping
