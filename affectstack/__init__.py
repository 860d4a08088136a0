"""What every room of the house stands on: the version, readable errors, and registries."""

from affectstack.errors import AffectstackError, did_you_mean
from affectstack.registry import Registry

__version__ = "0.1.0"

__all__ = ["AffectstackError", "Registry", "__version__", "did_you_mean"]
