"""`python -m pipeline.convert_weights FILE`: make safetensors of a checkpoint, once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.weights import LEGACY, WeightsError, load_state_dict, sha256
from pipeline.cli import EXIT_OK, relative_to_cwd, run, say
from pipeline.files import publish
from pipeline.options import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(add_completion=False)


@app.command()
def convert_weights(
    file: Annotated[Path, typer.Argument(help="A caffe2 .pkl of PySlowFast, or a .pyth, .pt or .pth.")],
    out: Annotated[Path | None, typer.Option(help="What to write; default: beside it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> int:
    """Read a checkpoint without running anything in it, and write its tensors as safetensors."""
    target = file.with_suffix(".safetensors") if out is None else out
    if target.suffix != ".safetensors":
        raise ConfigError(f"--out {target}: expected a name that ends with .safetensors")
    if target.resolve() == file.resolve():
        raise ConfigError(f"{file}: is safetensors already")
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already; give another --out, or --force to replace it")
    from safetensors.torch import save

    from extractors.networks.loading import fitting

    state = _caffe2(file) if file.suffix in LEGACY else load_state_dict(file)
    publish(target, save({k: v.contiguous() for k, v in state.items()}))
    names = fitting(state)
    say(f"wrote {relative_to_cwd(target)}: {len(state)} tensors, sha256 {sha256(target)}")
    if names:
        say(f"these are weights of {' or '.join(names)}; next: name them in the experiment:")
        say(f"  clip: {{modality: video, extractor: {names[0]}, weights: {relative_to_cwd(target)}}}")
    else:
        say("they are of no network of the zoo; name the extractor of their kind and its `config: FILE.yaml`")
    return EXIT_OK


def _caffe2(file: Path) -> "dict[str, Tensor]":
    import torch

    from extractors.legacy_pickle import read_blobs
    from extractors.networks.caffe2_names import renamed

    state, unknown = renamed(read_blobs(file))
    if unknown or not state:
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise WeightsError(
            f"{file}: {len(unknown)} parameters that no network here has ({shown}); expected a checkpoint of "
            "PySlowFast's model zoo: SlowFast, Slow, I3D or C2D"
        )
    return {name: torch.from_numpy(values) for name, values in state.items()}


if __name__ == "__main__":
    run(app)
