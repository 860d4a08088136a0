"""A bidirectional LSTM with attention over frames (MMER's "Sequence1Modal", SYSTEMS 2.6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.arrays import check_array, fit_scaler, scaled
from classifiers.contract import (
    Head,
    HeadError,
    Labels,
    Scale,
    as_labels,
    check_classes,
    held_out_parts,
)
from classifiers.registry import HEADS
from classifiers.saved import read_facts, read_weights, reading, scaler_facts, scaler_of, write_network

if TYPE_CHECKING:  # PyTorch takes two seconds to import, which no other head needs
    from classifiers.attentive_bilstm import AttentiveBiLSTM
    from classifiers.stacked_lstm import Task

Sequences = Sequence[NDArray[np.float32]]


@HEADS.register("bilstm")
class BiLSTMHead(Head):
    """`AttentiveBiLSTM`, trained with class weights, stopped by held-out subjects.

    Part of the training subjects are held out to watch the weighted F1; the weights of the best epoch stay.

    Args:
        hidden: Units per direction.
        dropout: See `AttentiveBiLSTM`.
        scale: Scaling of the frames, fitted inside `fit`.
        lr: Learning rate of Adam.
        batch: Clips per step.
        max_epochs: Most epochs.
        patience: Epochs without a better F1 before it stops.
        parts: One in so many subjects is held out.
        seed: Of weights, order, dropout, and which subjects are held out.

    Attributes:
        held_out_: The subjects that decided when to stop.
        epochs_: The best epoch, from 1.
    """

    sequence: ClassVar[bool] = True
    batched: ClassVar[bool] = True

    def __init__(
        self,
        hidden: int = 50,
        dropout: float = 0.3,
        scale: Scale = "none",
        lr: float = 1e-3,
        batch: int = 64,
        max_epochs: int = 300,
        patience: int = 30,
        parts: int = 5,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.scale = scale
        self.lr = lr
        self.batch = batch
        self.max_epochs = max_epochs
        self.patience = patience
        self.parts = parts
        self.seed = seed

    def fit(self, X: Sequences, y: Labels, groups: Sequence[str] | None = None) -> Self:
        """Train until the held-out subjects' F1 stops rising."""
        if len(X) != len(y):
            raise HeadError(f"{len(X)} clips and {len(y)} labels; expected one label per clip")
        self.fit_many([self], X, y, [np.arange(len(X))], groups)
        return self

    @classmethod
    def fit_many(
        cls,
        heads: Sequence[Any],
        X: Sequences,
        y: Labels,
        rows: Sequence[NDArray[np.int64]],
        groups: Sequence[str] | None = None,
    ) -> None:
        """Train heads of the same settings side by side."""
        from sklearn.metrics import f1_score

        from classifiers.stacked_lstm import train

        like = heads[0]
        if like.max_epochs < 1 or like.hidden < 1:
            raise HeadError(
                f"max_epochs is {like.max_epochs}, hidden {like.hidden}; expected 1 or more of each"
            )
        _check_sequences(X, X[0].shape[1])
        labels = as_labels(y)
        subjects = np.arange(len(X)).astype(str) if groups is None else np.asarray(groups, dtype=str)
        together: dict[int, list[tuple[Any, Task]]] = {}
        for head, own in zip(heads, rows, strict=True):
            task = head._task(X, labels, own, None if groups is None else subjects, subjects)
            together.setdefault(len(head.classes_), []).append((head, task))
        for members in together.values():
            modules = [head._untrained(X[0].shape[1]) for head, _ in members]
            trained = train(
                modules,
                [task for _, task in members],
                lambda truth, guesses: float(f1_score(truth, guesses, average="weighted")),
                dropout=like.dropout,
                lr=like.lr,
                batch=like.batch,
                max_epochs=like.max_epochs,
                patience=like.patience,
            )
            for (head, _), module, (state, epoch) in zip(members, modules, trained, strict=True):
                module.load_state_dict(state)
                head.network_, head.epochs_ = module.eval(), epoch

    def predict_proba(self, X: Sequences) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors; the batch a clip meets does not change them."""
        _check_sequences(X, self.network_.lstm.input_size)
        from classifiers.attentive_bilstm import posteriors

        return posteriors(self.network_, self._scaled(X), self.batch)

    def save(self, folder: Path) -> None:
        """Write `head.json` and `head.safetensors`."""
        facts = {
            "params": self.get_params(),
            "classes": self.classes_.tolist(),
            "inputs": self.network_.lstm.input_size,
            "held_out": self.held_out_,
            "epochs": self.epochs_,
            "scaler": scaler_facts(self.scaler_, self.scale),
        }
        write_network(folder, facts, self.network_)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            HeadError: If a file is absent or does not fit.
        """
        from classifiers.attentive_bilstm import AttentiveBiLSTM

        with reading(folder, "BiLSTM"):
            facts = read_facts(folder)
            head = cls(**facts["params"])
            head.classes_ = np.asarray(facts["classes"], dtype=str)
            head.held_out_, head.epochs_ = facts["held_out"], facts["epochs"]
            head.scaler_ = scaler_of(facts["scaler"], head.scale, facts["inputs"])
            head.network_ = AttentiveBiLSTM(facts["inputs"], len(head.classes_), head.hidden, head.dropout)
            read_weights(folder, head.network_)
        return head

    def _task(
        self,
        X: Sequences,
        labels: Any,
        own: NDArray[np.int64],
        groups: NDArray[Any] | None,
        subjects: NDArray[Any],
    ) -> "Task":
        """Hold subjects out and fit the scaler; return what there is to learn."""
        import torch

        from classifiers.stacked_lstm import Task

        self.classes_, index = check_classes(labels[own])
        of = None if groups is None else groups[own].tolist()
        fit_rows, held_rows = held_out_parts(of, self.classes_[index], self.parts, self.seed)[0]
        self.held_out_ = sorted(set(subjects[own[held_rows]].tolist()))
        self.scaler_ = fit_scaler(self.scale, [X[i] for i in own[fit_rows]])
        clips = [torch.from_numpy(x) for x in self._scaled([X[i] for i in own])]
        return Task(fit_rows, held_rows, torch.from_numpy(index), clips, self.seed)

    def _untrained(self, inputs: int) -> "AttentiveBiLSTM":
        import torch

        from classifiers.attentive_bilstm import AttentiveBiLSTM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return AttentiveBiLSTM(inputs, len(self.classes_), self.hidden, self.dropout)

    def _scaled(self, X: Sequences) -> list[NDArray[np.float32]]:
        return [scaled(self.scaler_, x) for x in X]


def _check_sequences(X: Sequences, width: int) -> None:
    for i, x in enumerate(X):
        check_array(x, "sequence", width, f"clip {i}")
