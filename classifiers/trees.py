"""Heads made of decision trees."""

from typing import Any, ClassVar

import numpy as np

from classifiers.contract import HeadError
from classifiers.scikit import ScikitHead


class TreesHead(ScikitHead):
    """A head whose file holds tree nodes: indices into memory, so they are looked at before they are used."""

    trusted: ClassVar[tuple[str, ...]] = ("sklearn.tree._tree.Tree",)

    def check_loaded(self) -> None:
        """Refuse nodes that point outside of their tree, in a circle, or to a feature that is not there."""
        features = int(self.estimator_.n_features_in_)
        for estimator in getattr(self.estimator_, "estimators_", [self.estimator_]):
            tree: Any = estimator.tree_
            nodes = np.arange(tree.node_count)
            leaf = tree.children_left == -1
            for children in (tree.children_left, tree.children_right):
                # A child stands behind its parent, so every walk comes to an end.
                inside = (children > nodes) & (children < tree.node_count)
                if not np.where(leaf, children == -1, inside).all():
                    raise HeadError("a tree whose nodes do not fit together")
            named = (tree.feature >= 0) & (tree.feature < features)
            if tree.n_features != features or not (named | leaf).all():
                raise HeadError("a tree of other features")
