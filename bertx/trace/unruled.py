"""Search of a graph for operations that have no relevance rule."""

import re
from typing import Any

from torch import Tensor

from bertx.trace.nodes import AttentionNode, LinearizeNode, LinearNode, ScaleNode, comes_from

_LINEAR = frozenset(
    "AccumulateGrad Add Alias AsStrided Cat Chunk Clone ConstantPadNd Copy CopySlices Cumsum "
    "Diagonal Expand Fft FftC2C FftC2R FftR2C Flip Gather Im2Col Index IndexPut IndexSelect "
    "MaskedFill MaskedScatter Mean Neg Permute Real Repeat ReshapeAlias Roll Rsub Scatter "
    "Select _SkippingLinear Slice Split SplitWithSizes Squeeze Stack Sub Sum T ToCopy Transpose "
    "Tril Triu Unbind Unfold UnsafeSplit UnsafeView Unsqueeze View ViewAsComplex ViewAsReal Where "
    "Amax Amin LeakyRelu Max MaxPool1D Maximum Min Minimum Relu Sort Threshold Topk ".split()
)
"""Names of nodes that are linear or, as ReLU and maxima, linear around the values of the forward.
For these, gradient × input is a relevance rule."""

_WEIGHTS = ("Addmm", "Convolution")
"""Names of nodes that multiply by weights without calling `torch.nn.functional.linear`."""

_PRODUCTS = ("Addmm", "Baddbmm", "Bmm", "Convolution", "Dot", "Mm", "Mul", "Mv")


def without_rule(output: Tensor, every_linear: bool) -> list[str]:
    """Return the names of the operations between embeddings and output that have no rule.

    The graph must have been recorded in `bertx.trace.recording.recording_functions`. The search
    follows relevance downwards: past a norm, activation or softmax to its input, through products
    whose factors have their shares, and through linear operations. It stops at any other node.

    Args:
        output: A tensor computed from the embeddings.
        every_linear: Whether products by weights need a node for rules of linear maps.
    """
    names: set[str] = set()
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        below = _below(node, every_linear)
        if below is None:
            names.add(_name(node))
        else:
            waiting.extend(below)
    return sorted(names)


def _below(node: Any, every_linear: bool) -> list[Any] | None:
    """Return the nodes that relevance goes to next, or None if the node has no rule."""
    inputs = [below for below, _ in node.next_functions]
    if _is(node, LinearizeNode, LinearNode):
        return inputs[:1]  # x; the other is y, which was computed from it
    if _is(node, AttentionNode):
        return inputs[:3]  # queries, keys, values
    if _is(node, ScaleNode):
        if node.kinds == ("norm",):  # as a denominator or factor it would have been left out
            return None
        return inputs if node.operands is None else list(node.operands)
    name = _name(node)
    if name in _WEIGHTS and every_linear:
        return None
    if name == "Div":
        numerator, denominator = (*inputs, None)[:2]
        constant = denominator is None or comes_from(denominator, "norm")
        return [numerator] if constant else None
    if name in _PRODUCTS:
        return _below_product(inputs[1:] if name in ("Addmm", "Baddbmm") else inputs, inputs)
    return inputs if name in _LINEAR else None


def _below_product(factors: list[Any], inputs: list[Any]) -> list[Any] | None:
    factors = [factor for factor in factors if factor is not None]  # None: a constant
    if len(factors) < 2:
        return inputs
    if any(comes_from(factor, "norm") for factor in factors):
        return [factor for factor in factors if not comes_from(factor, "norm")]
    scaled = all(comes_from(factor, "gate") or comes_from(factor, "product") for factor in factors)
    return inputs if scaled else None


def _is(node: Any, *functions: Any) -> bool:
    return isinstance(node, tuple(function._backward_cls for function in functions))


def _name(node: Any) -> str:
    """Return torch's name of a node's operation, or of the one that a `ScaleNode` follows."""
    if _is(node, ScaleNode):
        node = node.next_functions[0][0]
    return re.sub(r"Backward\d*$", "", type(node).__name__)
