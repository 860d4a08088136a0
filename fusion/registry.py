"""The fusers by the name that an experiment calls them."""

from affectstack import Registry
from fusion.contract import Fuser, ValueFuser

FUSERS: Registry[Fuser] = Registry("fusion method")
VALUE_FUSERS: Registry[ValueFuser] = Registry("fusion method of values")
