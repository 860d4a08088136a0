"""The feature store: immutable shards of flat HDF5, each with a record beside it."""

from pipeline.store.block import Block, ClipKey
from pipeline.store.errors import (
    StoreCorruptError,
    StoreError,
    StoreUnsafeError,
    StoreVersionError,
    StoreWriteError,
)
from pipeline.store.layout import encode
from pipeline.store.maintenance import sweep_temporaries
from pipeline.store.opening import decode
from pipeline.store.reading import FeatureStore
from pipeline.store.shards import (
    Failure,
    Record,
    identity_sha256,
    read_record,
    record_path,
    shard_name,
    write_shard,
)
from pipeline.store.verified import Verified

__all__ = [
    "Block",
    "ClipKey",
    "Failure",
    "FeatureStore",
    "Record",
    "StoreCorruptError",
    "StoreError",
    "StoreUnsafeError",
    "StoreVersionError",
    "StoreWriteError",
    "Verified",
    "decode",
    "encode",
    "identity_sha256",
    "read_record",
    "record_path",
    "shard_name",
    "sweep_temporaries",
    "write_shard",
]
