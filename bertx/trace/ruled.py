"""Whether everything that relevance passes on its way down a graph has a rule."""

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from bertx.trace.switch import Attended, Linear, Linearized, Shared, made_of

_LINEAR = frozenset(
    "AccumulateGrad Add Alias AsStrided Cat Chunk Clone ConstantPadNd Copy CopySlices Cumsum "
    "Diagonal Expand Fft FftC2C FftC2R FftR2C Flip Gather Im2Col Index IndexPut IndexSelect "
    "MaskedFill MaskedScatter Mean Neg Permute Real Repeat ReshapeAlias Roll Rsub Scatter "
    "Select _Linear Slice Split SplitWithSizes Squeeze Stack Sub Sum T ToCopy Transpose Tril "
    "Triu Unbind Unfold UnsafeSplit UnsafeView Unsqueeze View ViewAsComplex ViewAsReal Where "
    "Amax Amin LeakyRelu Max MaxPool1D Maximum Min Minimum Relu Sort Threshold Topk ".split()
)
"""Names of nodes that are linear, or like ReLU and the maximum linear around the values."""

_WEIGHTS = ("Addmm", "Convolution")
"""Names of nodes that multiply by weights, not by way of `torch.nn.functional.linear`."""

_PRODUCTS = ("Addmm", "Baddbmm", "Bmm", "Convolution", "Dot", "Mm", "Mul", "Mv")


def without_rule(output: Tensor, every_linear: bool) -> list[str]:
    """The operations between an output and the embeddings for which there is no rule, by name.

    It walks the graph that was made inside of `bertx.trace.switch.recording_functions` the way that
    relevance takes: past an activation, a norm and a softmax to its input, through products whose
    factors have their shares, and through what is linear. Whatever else it meets is named.

    Args:
        output: Made of the embeddings.
        every_linear: Whether maps by weights need a node too.
    """
    found: set[str] = set()
    waiting, seen, covered = [output.grad_fn], set(), set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if _is(node, Shared) and node.of is True:
            covered.add(_product_below(node))
        below = _below(node, covered, every_linear)
        found.update({_name(node)} if below is None else ())
        waiting.extend(below or ())
    return sorted(found)


def _below(node: Any, covered: Iterable[Any], every_linear: bool) -> list[Any] | None:
    """The nodes that relevance goes to next, None if there is no rule."""
    inputs = [one for one, _ in node.next_functions]
    name = _name(node)
    if _is(node, Linearized, Linear):
        return inputs[:1]
    if _is(node, Attended):
        return inputs[:3]
    if _is(node, Shared):
        return _below_shared(node, inputs)
    if name in _WEIGHTS and every_linear:
        return None
    if name == "Div":
        numerator, denominator = (*inputs, None)[:2]
        fixed = denominator is None or made_of(denominator, "norm")
        return [numerator] if fixed else None
    if name in _PRODUCTS:
        return _below_product(node, inputs, node in covered)
    return inputs if name in _LINEAR else None


def _below_shared(node: Any, inputs: list[Any]) -> list[Any] | None:
    if node.kinds == ("norm",):
        return None  # a root that is no denominator
    if isinstance(node.of, list):
        return list(node.of)
    if node.kinds == ("softmax",) and _name(inputs[0]) == "Softmax":
        return [one for one, _ in inputs[0].next_functions]
    return inputs


def _below_product(node: Any, inputs: list[Any], covered: bool) -> list[Any] | None:
    factors = inputs[1:] if _name(node) in ("Addmm", "Baddbmm") else inputs
    explained = [factor for factor in factors if factor is not None]
    if len(explained) < 2 or covered:
        return inputs
    if any(made_of(factor, "norm") for factor in explained):
        return [factor for factor in explained if not made_of(factor, "norm")]
    shared = all(made_of(factor, "gate") or made_of(factor, "product") for factor in explained)
    return inputs if shared else None


def _product_below(node: Any) -> Any:
    """The product of two that a node stands behind, with shapes between."""
    while len(below := [one for one, _ in node.next_functions if one is not None]) == 1:
        node = below[0]
    return node


def _is(node: Any, *functions: Any) -> bool:
    return isinstance(node, tuple(function._backward_cls for function in functions))


def _name(node: Any) -> str:
    return re.sub(r"Backward\d*$", "", type(node).__name__)
