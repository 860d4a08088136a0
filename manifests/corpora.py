"""The corpora that can be read, by name."""

from affectstack import Registry
from manifests.corpus import Corpus
from manifests.crema_d import CremaD
from manifests.folder import Folder
from manifests.msp_improv import MspImprov
from manifests.ravdess import Ravdess
from manifests.table import Table

CORPORA: Registry[Corpus] = Registry("corpus")
CORPORA.register("crema_d")(CremaD)
CORPORA.register("folder")(Folder)
CORPORA.register("msp_improv")(MspImprov)
CORPORA.register("ravdess")(Ravdess)
CORPORA.register("table")(Table)
