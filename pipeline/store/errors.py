"""What can be wrong with a feature store."""

from affectstack import AffectstackError
from pipeline.files import WriteError


class StoreError(AffectstackError):
    """A feature store that cannot be read."""


class StoreCorruptError(StoreError):
    """A shard or record that is absent, cut, or has changed since it was written."""


class StoreVersionError(StoreError):
    """A shard or record of a newer format."""


class StoreUnsafeError(StoreError):
    """A file that asks HDF5 to do what no shard of ours does: open other files, or invent sizes."""


class StoreWriteError(WriteError, StoreError):
    """A shard or record could not be written."""
