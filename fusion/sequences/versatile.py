"""Versatile audio-visual learning: one model for voice, face and both (VAVL, arXiv 2305.07216)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from classifiers.contract import HeadError, InputKind, Scale, SoftLabels, Task, check_classes, held_out_parts
from classifiers.framed import FramedHead
from classifiers.registry import HEADS
from classifiers.values import check_values
from fusion.sequences.options import Selection, complete, known

if TYPE_CHECKING:
    from torch import Tensor

    from classifiers.frame_training import FrameClip
    from fusion.sequences.versatile_network import Shape, VersatileNetwork
    from fusion.sequences.versatile_training import Settings


_LONGEST = 3_000  # rows; with eight heads, a batch takes 6 GB then


@HEADS.register("versatile")
class VersatileHead(FramedHead):
    """Conformers of voice and face with shared layers; clips of one or the other train it too.

    X is a list of `(sound, picture)`, `Frames` each; None stands for what a clip lacks. What is said of a
    clip that has both is the answer to both, of others the answer to what they have; answers that no training
    clip taught are left out. Clips without a label are reconstructed only. y are class names, or a table of
    attributes. The defaults are the published ones.

    Args:
        width: Of the conformers; a multiple of twice `heads`.
        bottleneck: To which a feature is narrowed first.
        layers: Conformer layers of each input.
        shared_layers: Conformer layers that both go through.
        heads: Of their attention.
        kernel: Rows that their convolutions see, an odd number.
        dropout: In the conformers.
        answer_dropout: In the perceptrons that answer.
        reconstruction: Weight of the reconstruction beside the answer; None: 2 for classes, 1 for attributes.
        scale: Scaling of both, fitted inside `fit`.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty.
        batch: Clips per step.
        max_epochs: Most epochs.
        select_by: How held-out subjects choose the epoch that stays: by the mean "loss" of the answers, as
            published, or by their mean unweighted average "recall" (classes only), which goes on rising where
            posteriors only get too sure.
        patience: Epochs that are no better on held-out subjects before it stops; None: never.
        parts: One in so many subjects is held out; the weights of their best epoch stay.
        seed: Of weights, order, dropout, and which subjects are held out.

    Attributes:
        trained_: Whether the answers to sound, picture and both were taught by any clip.
        prior_: `[K]`, what is answered to a clip that none of them can answer.
    """

    network_: "VersatileNetwork"

    tasks: ClassVar[frozenset[Task]] = frozenset({"classes", "values"})
    sequence: ClassVar[bool] = True
    inputs: ClassVar[tuple[InputKind, ...]] = ("frames", "frames")
    partial: ClassVar[bool] = True
    learns_unlabelled: ClassVar[bool] = True
    own_facts: ClassVar[tuple[str, ...]] = ("stand_ins_", "trained_", "prior_", "remarks_")

    def __init__(
        self,
        width: int = 512,
        bottleneck: int = 50,
        layers: int = 3,
        shared_layers: int = 2,
        heads: int = 8,
        kernel: int = 31,
        dropout: float = 0.1,
        answer_dropout: float = 0.2,
        reconstruction: float | None = None,
        scale: Scale = "standard",
        lr: float = 5e-5,
        weight_decay: float = 5e-7,
        batch: int = 32,
        max_epochs: int = 20,
        select_by: Selection = "loss",
        patience: int | None = None,
        parts: int = 5,
        seed: int = 0,
    ) -> None:
        self.width = width
        self.bottleneck = bottleneck
        self.layers = layers
        self.shared_layers = shared_layers
        self.heads = heads
        self.kernel = kernel
        self.dropout = dropout
        self.answer_dropout = answer_dropout
        self.reconstruction = reconstruction
        self.scale = scale
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch = batch
        self.max_epochs = max_epochs
        self.select_by = select_by
        self.patience = patience
        self.parts = parts
        self.seed = seed

    def _fit(self, clips: Sequence["FrameClip"], widths: list[int], y: Any, subjects: NDArray[Any]) -> None:
        from classifiers.branch_training import seeded
        from fusion.sequences.versatile_training import Trainer

        self._check_options()
        targets, strata = self._targets(y)
        labelled = np.flatnonzero(complete(targets))
        own = subjects[labelled].tolist()
        _, held = held_out_parts(own, strata[labelled], self.parts, self.seed)[0]
        self.held_out_ = sorted(set(subjects[labelled[held]].tolist()))
        fit = np.flatnonzero(~np.isin(subjects, self.held_out_))
        learned = [clips[i] for i in fit.tolist()]
        self._learn_inputs(learned, widths)
        with seeded(self.seed):
            self.network_ = self._network(widths, targets.shape[1])
            least = 2 if self._of_values else 1  # one clip has no concordance
            trainer = Trainer(
                self.network_, self._scaled(clips), targets, self._collate, self._loss, self._settings, least
            )
            self.epochs_ = trainer.train(fit, labelled[held])
        self._note(targets[fit], trainer.taught)

    @classmethod
    def _check(cls, clips: Sequence["FrameClip"], widths: Sequence[int]) -> None:
        super()._check(clips, widths)
        for i, clip in enumerate(clips):
            if (rows := max(len(f.values) for f in clip if f is not None)) > _LONGEST:
                raise HeadError(
                    f"clip {i} has {rows:,} rows, which all attend to each other; expected {_LONGEST:,} at "
                    "most: bring it to fewer with `rate`, or cut it with `longest`"
                )

    def _targets(self, y: Any) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return `[N, K]` targets, NaN without a label, and `[N]` classes to spread over held-out parts."""
        self.__dict__.pop("attributes_", None)  # of an earlier fit
        if isinstance(y, pd.DataFrame):
            given = y.notna().all(axis=1).to_numpy()
            self.attributes_, values = check_values(y[given])
            wanted = np.full(y.shape, np.nan, dtype=np.float32)
            wanted[given] = values
            return wanted, np.zeros(len(y), dtype=np.int64)
        there = np.asarray(~pd.isna(y.labels if isinstance(y, SoftLabels) else y))
        self.classes_, index = check_classes(y[there])
        targets = np.full((len(y), len(self.classes_)), np.nan, dtype=np.float32)
        hard = np.eye(len(self.classes_), dtype=np.float32)[index]
        targets[there] = y[there].of(self.classes_.tolist()) if isinstance(y, SoftLabels) else hard
        names = np.full(len(y), "", dtype=object)
        names[there] = self.classes_[index]
        return targets, names

    def _note(self, targets: NDArray[np.float32], taught: list[bool]) -> None:
        """Note which answers were taught, and what is answered where none was."""
        labelled = complete(targets)
        self.trained_ = taught
        self.prior_ = targets[labelled].mean(axis=0, dtype=np.float64).tolist()
        alone = "clips of it alone get the prior"
        said = (
            ("the first input", alone),
            ("the second input", alone),
            ("both inputs", "answers are averaged"),
        )
        self.remarks_ = [
            f"no training clip has {what} and a label; {then}"
            for (what, then), trained in zip(said, taught, strict=True)
            if not trained
        ]
        if without := int((~labelled).sum()):
            self.remarks_.append(
                f"{without} of {len(labelled)} training clips have no label; they are reconstructed only"
            )

    def _loss(self, found: "Tensor", wanted: "Tensor") -> "Tensor":
        from torch.nn import functional

        if self._of_values:
            from fusion.sequences.concordance_loss import concordance_loss

            return concordance_loss(found, wanted)
        return functional.cross_entropy(found, wanted)

    def _ask(self, clips: Sequence["FrameClip"]) -> NDArray[np.float64]:
        from fusion.sequences.versatile_training import answers

        found = answers(self.network_, clips, self._collate)
        if not self._of_values:
            found = [softmax(answer, axis=1) for answer in found]
        for answer, trained in zip(found, self.trained_, strict=True):
            answer[:] = answer if trained else np.nan
        *single, joint = found
        stacked = np.stack(single)
        counts = (~np.isnan(stacked)).sum(axis=0)
        mean = np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), self.prior_)
        return np.where(np.isnan(joint), mean, joint)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return `[N, K]` posteriors; the batch a clip meets does not change them.

        Raises:
            HeadError: If it was trained on values.
        """
        if self._of_values:
            raise HeadError("it was trained on values of attributes, and gives no posteriors of classes")
        return super().predict_proba(X)

    def predict_values(self, X: Any) -> NDArray[np.float64]:
        """Return `[N, A]` values; the batch a clip meets does not change them.

        Raises:
            HeadError: If it was trained on classes.
        """
        if not self._of_values:
            raise HeadError("it was trained on classes, and gives no values of attributes")
        return self._ask(self._scaled(self._checked(X)))

    @property
    def _of_values(self) -> bool:
        return hasattr(self, "attributes_")

    def _names(self) -> dict[str, list[str]]:
        return {"attributes": self.attributes_.tolist()} if self._of_values else super()._names()

    def _take_names(self, facts: dict[str, Any]) -> int:
        if "attributes" not in facts:
            return super()._take_names(facts)
        self.attributes_ = np.asarray(facts["attributes"], dtype=str)
        return len(self.attributes_)

    def _network(self, widths: Sequence[int], outputs: int) -> "VersatileNetwork":
        from fusion.sequences.versatile_network import VersatileNetwork

        return VersatileNetwork(widths, outputs, self._shape)

    def _train(self, *_: Any) -> int:
        raise AssertionError("it is trained by its own _fit")

    @property
    def _shape(self) -> "Shape":
        from fusion.sequences.versatile_network import Shape

        return Shape(
            self.width,
            self.bottleneck,
            self.layers,
            self.shared_layers,
            self.heads,
            self.kernel,
            self.dropout,
            self.answer_dropout,
        )

    @property
    def _settings(self) -> "Settings":
        from fusion.sequences.versatile_training import Settings

        usual = 1.0 if self._of_values else 2.0
        weight = usual if self.reconstruction is None else self.reconstruction
        return Settings(
            self.lr,
            self.weight_decay,
            self.batch,
            self.max_epochs,
            self.patience,
            weight,
            self.seed,
            by_recall=self.select_by == "recall" and not self._of_values,
        )

    def _check_options(self) -> None:
        least = {
            name: getattr(self, name) for name in ("width", "bottleneck", "layers", "heads", "max_epochs")
        }
        patience = 1 if self.patience is None else self.patience
        for name, value in {**least, "patience": patience}.items():
            if value < 1:
                raise HeadError(f"{name} is {value}; expected 1 or more")
        if self.batch < 2:
            raise HeadError(f"batch is {self.batch}; expected 2 or more")
        if self.shared_layers < 0:
            raise HeadError(f"shared_layers is {self.shared_layers}; expected 0 or more")
        if self.width % (2 * self.heads):
            raise HeadError(f"width is {self.width}; expected a multiple of twice the {self.heads} heads")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise HeadError(f"kernel is {self.kernel}; expected an odd number")
        for name in ("dropout", "answer_dropout"):
            if not 0 <= getattr(self, name) <= 0.99:
                raise HeadError(f"{name} is {getattr(self, name)}; expected 0 to 0.99")
        if not 0 < self.lr < np.inf:
            raise HeadError(f"lr is {self.lr}; expected more than 0")
        for name in ("weight_decay", "reconstruction"):
            if not (getattr(self, name) or 0.0) >= 0:
                raise HeadError(f"{name} is {getattr(self, name)}; expected 0 or more")
        known("select_by", self.select_by, Selection)
