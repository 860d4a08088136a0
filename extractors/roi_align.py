"""The one name that PySlowFast wants from detectron2, from torchvision instead.

PySlowFast imports `detectron2.layers.ROIAlign` for its detection head alone. detectron2 is on no
package registry; `torchvision.ops.RoIAlign` is the same operator.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from typing import Any


def provide_roi_align() -> None:
    """Make `from detectron2.layers import ROIAlign` work where detectron2 is absent."""
    if "detectron2" in sys.modules or importlib.util.find_spec("detectron2") is not None:
        return
    from torchvision.ops import RoIAlign

    def roi_align(
        output_size: Any, spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ) -> RoIAlign:
        return RoIAlign(output_size, spatial_scale, sampling_ratio, aligned=aligned)

    package, layers = (module_from_spec(ModuleSpec(n, None)) for n in ("detectron2", "detectron2.layers"))
    package.__doc__ = layers.__doc__ = "Stand-in made by affectstack: ROIAlign from torchvision."
    vars(layers)["ROIAlign"] = roi_align
    vars(package)["layers"] = layers
    sys.modules["detectron2"] = package
    sys.modules["detectron2.layers"] = layers
