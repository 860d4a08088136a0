"""Media in, arrays out: one frozen extractor per file."""

from extractors import (  # noqa: F401  # register
    clip_networks,
    efficientface,
    efficientnet_b2,
    face_crops,
    fake,
    hub,
    logmel,
    mfcc,
    openface,
    opensmile,
    table,
    wav2vec2,
)
from extractors.contract import Clip, ClipError, Extractor, Features, check_features
from extractors.registry import EXTRACTORS

__all__ = ["EXTRACTORS", "Clip", "ClipError", "Extractor", "Features", "check_features"]
