"""The corpora that can be read, by name."""

from affectstack import Registry
from manifests.corpus import Corpus
from manifests.folder import Folder
from manifests.ravdess import Ravdess
from manifests.table import Table

CORPORA: Registry[Corpus] = Registry("corpus")
CORPORA.register("folder")(Folder)
CORPORA.register("ravdess")(Ravdess)
CORPORA.register("table")(Table)
