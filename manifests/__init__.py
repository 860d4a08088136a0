"""What the clips are: a validated table, readers of corpora, and subject-wise folds."""

from manifests.corpora import CORPORA, Corpus
from manifests.folds import Fold, Folds, make_folds
from manifests.manifest import Manifest, ManifestError
from manifests.published import PUBLISHED

__all__ = ["CORPORA", "PUBLISHED", "Corpus", "Fold", "Folds", "Manifest", "ManifestError", "make_folds"]
