"""The sizes of the blocks of an MViT, which its configuration says in lists of what differs."""

from collections.abc import Sequence

from extractors.networks.config import MViTSection

Grid = tuple[int, int, int]


class BlockShape:
    """The sizes of one block."""

    def __init__(
        self, section: MViTSection, number: int, inputs: int, outputs: int, heads: int, grid: Grid
    ) -> None:
        self.inputs, self.outputs, self.heads, self.grid = inputs, outputs, heads, grid
        self.attended = outputs if section.DIM_MUL_IN_ATT else inputs
        self.stride_q, self.kernel_q = _pooling(section, _strides(section.POOL_Q_STRIDE).get(number))
        self.stride_kv, self.kernel_kv = _pooling(section, _kv_strides(section).get(number))

    @property
    def grid_after(self) -> Grid:
        """The grid of what comes out."""
        t, h, w = (g // s for g, s in zip(self.grid, self.stride_q, strict=True))
        return t, h, w


def _strides(entries: Sequence[tuple[int, int, int, int]]) -> dict[int, Grid]:
    return {number: (t, h, w) for number, t, h, w in entries}


def _kv_strides(section: MViTSection) -> dict[int, Grid]:
    if section.POOL_KV_STRIDE_ADAPTIVE is None:
        return _strides(section.POOL_KV_STRIDE)
    stride, asked, found = section.POOL_KV_STRIDE_ADAPTIVE, _strides(section.POOL_Q_STRIDE), {}
    for number in range(section.DEPTH):
        if number in asked:
            t, h, w = (max(k // q, 1) for k, q in zip(stride, asked[number], strict=True))
            stride = (t, h, w)
        found[number] = stride
    return found


def _pooling(section: MViTSection, stride: Grid | None) -> tuple[Grid, Grid]:
    """Return stride and kernel of a pooling; where none is asked for, those of doing nothing."""
    if stride is None:
        return (1, 1, 1), (1, 1, 1)
    t, h, w = (s + 1 if s > 1 else s for s in stride)
    return stride, section.POOL_KVQ_KERNEL or (t, h, w)


def _rounded(width: float, factor: float, divisor: int = 1) -> int:
    wanted = width * factor
    rounded = max(1, int(wanted + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * wanted else rounded


def block_shapes(section: MViTSection, grid: Grid) -> list[BlockShape]:
    """Return the sizes of every block, for tokens on a grid at the beginning."""
    wider = {int(number): factor for number, factor in section.DIM_MUL}
    split = {int(number): factor for number, factor in section.HEAD_MUL}
    width, heads, shapes = section.EMBED_DIM, section.NUM_HEADS, []
    for number in range(section.DEPTH):
        heads = _rounded(heads, split.get(number, 1.0))
        place = number if section.DIM_MUL_IN_ATT else number + 1
        divisor = _rounded(heads, split.get(place, 1.0))
        outputs = _rounded(width, wider.get(place, 1.0), divisor)
        shapes.append(BlockShape(section, number, width, outputs, heads, grid))
        width, grid = outputs, shapes[-1].grid_after
    return shapes
