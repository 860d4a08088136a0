"""The fusers by the name that an experiment calls them."""

from affectstack import Registry
from fusion.contract import Fuser

FUSERS: Registry[Fuser] = Registry("fusion method")
