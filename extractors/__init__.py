"""Media in, arrays out: one frozen extractor per file."""

from extractors import clip_networks, fake, logmel, openface, opensmile, table, wav2vec2  # noqa: F401  # register
from extractors.contract import Clip, ClipError, Extractor, Features, check_features
from extractors.registry import EXTRACTORS

__all__ = ["EXTRACTORS", "Clip", "ClipError", "Extractor", "Features", "check_features"]
