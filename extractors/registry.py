"""The extractors by the name that an experiment calls them."""

from affectstack import Registry
from extractors.contract import Extractor

EXTRACTORS: Registry[Extractor] = Registry("extractor")
