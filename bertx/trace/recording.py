"""What a forward is made to show: the weights of its attention, and what goes into each module."""

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bertx.errors import InputError
from bertx.models.scope import exclusive
from bertx.trace.attend import attend

AttentionCore = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]
"""Computes attention as `bertx.trace.attend.attend` does."""

Record = dict[nn.Module, list[tuple[Tensor, Tensor]]]
"""First input and output of each call of every recorded module, in the live graph."""

_SOFTMAX = ("eager", "sdpa", "flash", "flex", "bertx_")
"""What the names of attention functions contain that are softmax(q kᵀ / √d) v."""


@exclusive
def explicit_attention(model: PreTrainedModel, core: AttentionCore = attend) -> Iterator[None]:
    """Compute attention weights as such, through transformers' own interface.

    ``output_attentions=True`` would do, but leaves hooks on the model for good.

    Args:
        model: The model.
        core: What computes them, where the model takes its attention from the interface.

    A model that does not take its attention function from the interface is left to compute it as
    it does, with functions that a `bertx.trace.switch.FunctionRecorder` sees.

    Raises:
        InputError: If the model was given another attention than a softmax, or keeps its own.
    """
    if not _takes_attention(model):
        yield
        return
    name, before = f"bertx_{id(model)}", str(model.config._attn_implementation)
    if not any(kind in before for kind in _SOFTMAX):
        raise InputError(
            f"attention {before!r} of {type(model).__name__} is not known to be a softmax of "
            "products. Set model.set_attn_implementation('sdpa') if it may be"
        )
    ALL_ATTENTION_FUNCTIONS[name] = _called_by_transformers(core)
    AttentionMaskInterface.register(name, eager_mask)  # a mask of one instance is not looked up
    try:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            raise InputError(f"{type(model).__name__} does not take another attention function")
        yield
    finally:
        model.set_attn_implementation(before)
        del ALL_ATTENTION_FUNCTIONS[name], AttentionMaskInterface._global_mapping[name]


def _takes_attention(model: PreTrainedModel) -> bool:
    """Whether a model takes its attention function from transformers' interface."""
    base = model.base_model if isinstance(model.base_model, PreTrainedModel) else model
    takes: bool = type(base)._can_set_attn_implementation()
    return takes


def _called_by_transformers(core: AttentionCore) -> Callable[..., tuple[Tensor, Tensor]]:
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return core(query, key, value, attention_mask, scale)

    return attention


@exclusive
def recording(modules: Iterable[nn.Module]) -> Iterator[Record]:
    """Collect the first input and the output of each module's calls, in their order."""
    record: Record = {module: [] for module in modules}

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        record[module].append((args[0], output))

    handles = [module.register_forward_hook(note) for module in record]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()
