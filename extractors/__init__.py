"""Media in, arrays out: one frozen extractor per file."""

from extractors import fake, logmel, openface, opensmile, slowfast, table, wav2vec2  # noqa: F401  # register
from extractors.contract import Clip, ClipError, Extractor, Features, check_features
from extractors.registry import EXTRACTORS

__all__ = ["EXTRACTORS", "Clip", "ClipError", "Extractor", "Features", "check_features"]
