"""A random forest (SYSTEMS 2.5, no. 10)."""

from sklearn.ensemble import RandomForestClassifier

from classifiers.contract import Scale
from classifiers.registry import HEADS
from classifiers.trees import TreesHead


@HEADS.register("forest")
class ForestHead(TreesHead):
    """Trees on resampled clips, averaged.

    Args:
        trees: How many.
        scale: Scaling of the features, fitted inside `fit`.
        seed: Of whatever is drawn.
    """

    def __init__(self, trees: int = 100, scale: Scale = "none", seed: int = 0) -> None:
        self.trees = trees
        self.scale = scale
        self.seed = seed

    def estimator(self) -> RandomForestClassifier:
        """Return scikit-learn's."""
        return RandomForestClassifier(self.trees, random_state=self.seed)
