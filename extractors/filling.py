"""Filling a network with a checkpoint: every key used, every parameter filled."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from extractors.weights import WeightsError

COUNTER = "num_batches_tracked"  # of training; some checkpoints have none
_WRAPPERS = ("module.", "_orig_mod.")  # of several GPUs, of a compiled network


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint by the names that its network had before it was wrapped."""
    state = dict(state)
    for prefix in _WRAPPERS:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def fill(
    network: nn.Module, state: Mapping[str, Tensor], complaint: str, advice: Callable[[], str] = str
) -> None:
    """Load a checkpoint.

    Args:
        network: To be filled.
        state: The checkpoint, unwrapped.
        complaint: How the error begins.
        advice: Gives how it ends.

    Raises:
        WeightsError: If the checkpoint does not fit, naming what is missing and what is too much.
    """
    own = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    missing = [k for k in own if k not in state and not k.endswith(COUNTER)]
    extra = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and tuple(state[k].shape) != own[k]]
    if missing or extra or shapes:
        raise WeightsError(
            f"{complaint}: {_few('missing', missing)}; {_few('unknown', extra)}; "
            f"{_few('of another shape', shapes)}{advice()}"
        )
    network.load_state_dict({**network.state_dict(), **state}, strict=True)


def _few(what: str, keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
    return f"{len(keys)} {what}" + (f" ({shown})" if keys else "")
