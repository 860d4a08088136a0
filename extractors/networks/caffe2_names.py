"""What PySlowFast's parameters are called in the caffe2 checkpoints of its model zoo.

The names are facts of those files (facebookresearch/SlowFast, `slowfast/utils/c2_model_loading.py`). A `t_`
in front means the fast pathway, `_subsample` a fusion of the two.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_LEAVES = {
    "w": "weight",
    "b": "bias",
    "s": "weight",  # of a normalisation
    "rm": "running_mean",
    "riv": "running_var",
}
_IGNORED = re.compile(r".*_momentum|lr|model_iter|current_iter|epoch|.*/.*|.*_grad")
_PLACES = (
    (r"(t_)?conv1_xy", "s1.pathway{0}_stem.conv_xy"),
    (r"(t_)?conv1", "s1.pathway{0}_stem.conv"),
    (r"(t_)?res_conv1_bn", "s1.pathway{0}_stem.bn"),
    (r"t_pool1_subsample_bn", "s1_fuse.bn"),
    (r"t_pool1_subsample", "s1_fuse.conv_f2s"),
    (r"t_res(\d)_\d+_branch2c_bn_subsample_bn", "s{1}_fuse.bn"),
    (r"t_res(\d)_\d+_branch2c_bn_subsample", "s{1}_fuse.conv_f2s"),
    (r"(t_)?res(\d)_(\d+)_branch1_bn", "s{1}.pathway{0}_res{2}.branch1_bn"),
    (r"(t_)?res(\d)_(\d+)_branch1", "s{1}.pathway{0}_res{2}.branch1"),
    (r"(t_)?res(\d)_(\d+)_branch2([abc])_bn", "s{1}.pathway{0}_res{2}.branch2.{3}_bn"),
    (r"(t_)?res(\d)_(\d+)_branch2([abc])", "s{1}.pathway{0}_res{2}.branch2.{3}"),
    (r"nonlocal_conv(\d)_(\d+)_bn", "s{1}.pathway0_nonlocal{2}.bn"),
    (r"nonlocal_conv(\d)_(\d+)_(theta|phi|g|out)", "s{1}.pathway0_nonlocal{2}.conv_{3}"),
    (r"pred", "head.projection"),
)


def renamed(blobs: Mapping[str, NDArray[np.generic]]) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Return parameters by PySlowFast's names, and the names that mean nothing here.

    What only training needs (momenta, rates, counters) is left out.
    """
    state: dict[str, NDArray[np.float32]] = {}
    unknown = []
    for name, values in blobs.items():
        if _IGNORED.fullmatch(name):
            continue
        place = _place(name)
        if place is None:
            unknown.append(name)
            continue
        array = np.ascontiguousarray(values, dtype=np.float32)
        if place == "head.projection.weight":
            array = array.reshape(len(array), -1)  # a convolution of 1 x 1 x 1 there
        state[place] = array
    return state, unknown


def _place(name: str) -> str | None:
    stem, _, leaf = name.rpartition("_")
    if leaf not in _LEAVES:
        return None
    for pattern, place in _PLACES:
        if match := re.fullmatch(pattern, stem):
            groups = list(match.groups())
            if not pattern.startswith("(t_)"):
                groups = [None, *groups]  # the pathway is in the place itself
            pathway = "1" if groups[0] else "0"
            return f"{place.format(pathway, *groups[1:])}.{_LEAVES[leaf]}"
    return None
