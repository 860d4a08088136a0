"""A decision tree (SYSTEMS 2.5, no. 9)."""

from sklearn.tree import DecisionTreeClassifier

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.trees import TreesHead


@HEADS.register("tree")
class TreeHead(TreesHead):
    """One tree by Gini impurity.

    Args:
        min_samples_split: Fewest training clips of a node that is split.
        scale: Scaling of the features, fitted inside `fit`.
        seed: Of whatever is drawn.
    """

    def __init__(self, min_samples_split: int = 2, scale: Scale = "none", seed: int = 0) -> None:
        self.min_samples_split = min_samples_split
        self.scale = scale
        self.seed = seed

    def estimator(self) -> DecisionTreeClassifier:
        """Return scikit-learn's."""
        return DecisionTreeClassifier(min_samples_split=self.min_samples_split, random_state=self.seed)
