"""The configuration of a clip network, as PySlowFast writes it.

The keys and their defaults are those of facebookresearch/SlowFast, `slowfast/config/defaults.py`. Only what
shapes the network or prepares its input is read; how it was trained, and every path, is left alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from affectstack import AffectstackError, did_you_mean

_LARGEST = 1 << 20  # bytes; PySlowFast's own dumps have 10,000
_NUMBERS = re.compile(r"[(\[]\s*[\d.]+\s*(,\s*[\d.]+\s*)*,?\s*[)\]]")


class ConfigFileError(AffectstackError):
    """A configuration that cannot be read, or describes a network that is not known here."""


def _from_text(value: Any) -> Any:
    """Return `(3, 7, 7)`, which YAML takes for text and PySlowFast for a tuple, as a list of numbers."""
    if isinstance(value, str) and _NUMBERS.fullmatch(value.strip()):
        return [float(n) if "." in n else int(n) for n in re.findall(r"[\d.]+", value)]
    return value


_Count = Annotated[int, Field(ge=1, le=4096)]
_Triple = Annotated[tuple[_Count, _Count, _Count], BeforeValidator(_from_text)]
_Padding = Annotated[
    tuple[
        Annotated[int, Field(ge=0, le=64)],
        Annotated[int, Field(ge=0, le=64)],
        Annotated[int, Field(ge=0, le=64)],
    ],
    BeforeValidator(_from_text),
]
_Colours = Annotated[tuple[float, float, float], BeforeValidator(_from_text)]
_PerStage = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class DataSection(_Part):
    """What a network sees: `NUM_FRAMES` frames, every `SAMPLING_RATE`th at `TARGET_FPS`."""

    NUM_FRAMES: Annotated[int, Field(ge=1, le=512)] = 8
    SAMPLING_RATE: Annotated[int, Field(ge=1, le=512)] = 8
    TARGET_FPS: Annotated[float, Field(gt=0, le=1000)] = 30
    TRAIN_CROP_SIZE: Annotated[int, Field(ge=32, le=1024)] = 224
    TEST_CROP_SIZE: Annotated[int, Field(ge=32, le=1024)] = 256
    MEAN: _Colours = (0.45, 0.45, 0.45)
    STD: _Colours = (0.225, 0.225, 0.225)
    REVERSE_INPUT_CHANNEL: bool = False


class ModelSection(_Part):
    """Which network; "slow" was called "slowonly" once."""

    ARCH: Literal["slowfast", "slow", "slowonly", "i3d", "i3d_nopool", "c2d", "c2d_nopool", "x3d", "mvit"] = (
        "slowfast"
    )
    NUM_CLASSES: Annotated[int, Field(ge=1, le=100_000)] = 400


class ResNetSection(_Part):
    """Of SlowFast, Slow, I3D, C2D and, for the strides, X3D."""

    DEPTH: Literal[50, 101] = 50
    TRANS_FUNC: Literal["bottleneck_transform", "basic_transform", "x3d_transform"] = "bottleneck_transform"
    NUM_GROUPS: _Count = 1
    WIDTH_PER_GROUP: _Count = 64
    STRIDE_1X1: bool = False
    NUM_BLOCK_TEMP_KERNEL: _PerStage = ((3,), (4,), (6,), (3,))
    SPATIAL_STRIDES: _PerStage = ((1,), (2,), (2,), (2,))
    SPATIAL_DILATIONS: _PerStage = ((1,), (1,), (1,), (1,))


class SlowFastSection(_Part):
    """How the two pathways of SlowFast relate."""

    ALPHA: Annotated[int, Field(ge=1, le=64)] = 8
    BETA_INV: Annotated[int, Field(ge=1, le=64)] = 8
    FUSION_CONV_CHANNEL_RATIO: Annotated[int, Field(ge=1, le=64)] = 2
    FUSION_KERNEL_SZ: Annotated[int, Field(ge=1, le=31)] = 5


class NonLocalSection(_Part):
    """Non-local blocks of ResNets."""

    LOCATION: tuple[tuple[tuple[int, ...], ...], ...] = (((),), ((),), ((),), ((),))
    GROUP: tuple[tuple[int, ...], ...] = ((1,), (1,), (1,), (1,))
    INSTANTIATION: Literal["dot_product", "softmax"] = "dot_product"
    POOL: tuple[tuple[_Triple, ...], ...] = ((((1, 2, 2)), ((1, 2, 2))),) * 4


class X3DSection(_Part):
    """How X3D grows from its basis (Feichtenhofer 2020, arXiv 2004.04730)."""

    WIDTH_FACTOR: Annotated[float, Field(gt=0, le=64)] = 1.0
    DEPTH_FACTOR: Annotated[float, Field(gt=0, le=64)] = 1.0
    BOTTLENECK_FACTOR: Annotated[float, Field(gt=0, le=64)] = 1.0
    DIM_C1: _Count = 12
    DIM_C5: _Count = 2048
    SCALE_RES2: bool = False
    BN_LIN5: bool = False
    CHANNELWISE_3x3x3: bool = True


class ReversibleSection(_Part):
    """Reversible MViT, which is not built here."""

    ENABLE: bool = False


class MViTSection(_Part):
    """Multiscale vision transformers (Fan et al. 2021; Li et al. 2022, arXiv 2112.01526)."""

    MODE: Literal["conv", "conv_unshared", "avg", "max"] = "conv"
    POOL_FIRST: bool = False
    CLS_EMBED_ON: bool = True
    USE_MEAN_POOLING: bool = False
    PATCH_KERNEL: _Triple = (3, 7, 7)
    PATCH_STRIDE: _Triple = (2, 4, 4)
    PATCH_PADDING: _Padding = (2, 4, 4)
    PATCH_2D: bool = False
    EMBED_DIM: _Count = 96
    NUM_HEADS: _Count = 1
    MLP_RATIO: Annotated[float, Field(gt=0, le=64)] = 4.0
    QKV_BIAS: bool = True
    DEPTH: Annotated[int, Field(ge=1, le=256)] = 16
    NORM: Literal["layernorm"] = "layernorm"
    NORM_STEM: bool = False
    DIM_MUL: tuple[tuple[float, float], ...] = ()
    HEAD_MUL: tuple[tuple[float, float], ...] = ()
    DIM_MUL_IN_ATT: bool = False
    POOL_KVQ_KERNEL: _Triple | None = None
    POOL_KV_STRIDE: tuple[tuple[int, int, int, int], ...] = ()
    POOL_KV_STRIDE_ADAPTIVE: _Triple | None = None
    POOL_Q_STRIDE: tuple[tuple[int, int, int, int], ...] = ()
    USE_ABS_POS: bool = True
    SEP_POS_EMBED: bool = False
    USE_FIXED_SINCOS_POS: bool = False
    REL_POS_SPATIAL: bool = False
    REL_POS_TEMPORAL: bool = False
    RESIDUAL_POOLING: bool = False
    SEPARATE_QKV: bool = False
    LAYER_SCALE_INIT_VALUE: float = 0.0
    REV: ReversibleSection = ReversibleSection()


class MultiGridSection(_Part):
    """Training with pictures of several sizes, after which the head pools whatever there is."""

    SHORT_CYCLE: bool = False


class BatchNormSection(_Part):
    """Kinds of batch normalisation."""

    NORM_TYPE: Literal["batchnorm", "sync_batchnorm"] = "batchnorm"


class DetectionSection(_Part):
    """Detection heads, whose features belong to boxes."""

    ENABLE: bool = False


class NetworkConfig(_Part):
    """Everything that decides a network and its input."""

    DATA: DataSection = DataSection()
    MODEL: ModelSection = ModelSection()
    RESNET: ResNetSection = ResNetSection()
    SLOWFAST: SlowFastSection = SlowFastSection()
    NONLOCAL: NonLocalSection = NonLocalSection()
    X3D: X3DSection = X3DSection()
    MVIT: MViTSection = MViTSection()
    MULTIGRID: MultiGridSection = MultiGridSection()
    BN: BatchNormSection = BatchNormSection()
    DETECTION: DetectionSection = DetectionSection()

    @property
    def arch(self) -> str:
        """The network's kind, by its present name."""
        return "slow" if self.MODEL.ARCH == "slowonly" else self.MODEL.ARCH

    @property
    def alpha(self) -> int:
        """How many frames of the fast pathway the slow one takes one of; 1 without pathways."""
        return self.SLOWFAST.ALPHA if self.arch == "slowfast" else 1


def read_config(path: Path) -> NetworkConfig:
    """Read a configuration file of PySlowFast; nothing that it names is opened.

    Raises:
        ConfigFileError: If it is no such file, refers to another one, or describes what is not known here.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigFileError(f"{path}: {path.stat().st_size} bytes; a configuration has 10,000")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigFileError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigFileError(f"{path}: not valid YAML ({' '.join(str(error).split())[:160]})") from error
    if not isinstance(document, dict):
        raise ConfigFileError(f"{path}: expected sections like DATA and MODEL")
    return parse_config(document, str(path))


def parse_config(document: Mapping[Any, Any], source: str) -> NetworkConfig:
    """Check the sections that matter.

    Raises:
        ConfigFileError: Naming the key, what was found and what was expected.
    """
    if bases := [k for k in document if str(k).startswith("_BASE_")]:
        raise ConfigFileError(
            f"{source}: {bases[0]} names another file, which is not opened; give the whole configuration "
            "(PySlowFast writes it into its log, or `print(cfg.dump())`)"
        )
    if "MODEL" not in document and "DATA" not in document:
        sections = did_you_mean("MODEL", map(str, document))
        raise ConfigFileError(
            f"{source}: neither MODEL nor DATA is in it{sections}; expected PySlowFast's keys"
        )
    try:
        config = NetworkConfig.model_validate(dict(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigFileError(f"{source}: {where}: {first['msg']}; found {first['input']!r}") from error
    _refuse_unknown(config, source)
    return config


def _refuse_unknown(config: NetworkConfig, source: str) -> None:
    mvit = config.MVIT
    unknown = {
        "DETECTION.ENABLE": config.DETECTION.ENABLE,
        "X3D.CHANNELWISE_3x3x3: false": config.arch == "x3d" and not config.X3D.CHANNELWISE_3x3x3,
        "RESNET.TRANS_FUNC": (config.RESNET.TRANS_FUNC == "x3d_transform") != (config.arch == "x3d")
        and config.arch != "mvit",
        **{
            f"MVIT.{key}": config.arch == "mvit" and on
            for key, on in (
                ("REV.ENABLE", mvit.REV.ENABLE),
                ("PATCH_2D", mvit.PATCH_2D),
                ("SEPARATE_QKV", mvit.SEPARATE_QKV),
                ("POOL_FIRST", mvit.POOL_FIRST),
                ("NORM_STEM", mvit.NORM_STEM),
                ("USE_FIXED_SINCOS_POS", mvit.USE_FIXED_SINCOS_POS),
                ("LAYER_SCALE_INIT_VALUE", bool(mvit.LAYER_SCALE_INIT_VALUE)),
                (f"MODE {mvit.MODE}", mvit.MODE != "conv"),
            )
        },
    }
    if wrong := [key for key, on in unknown.items() if on]:
        raise ConfigFileError(
            f"{source}: {', '.join(wrong)} with MODEL.ARCH {config.arch} is a network that is not built here"
        )
