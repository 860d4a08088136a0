"""The heads by the name that an experiment calls them."""

from affectstack import Registry
from classifiers.contract import Head

HEADS: Registry[Head] = Registry("head")
