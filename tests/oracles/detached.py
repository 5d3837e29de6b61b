"""AttnLRP and CP-LRP as the gradient of a network in which some values count as constants.

The rules are written into the forward by `detach`, after Arras et al. 2025 (arXiv 2502.15886), and
an ordinary backward follows: a norm's denominator and an activation's secant are constants, and a
product is half of itself with each factor constant. Nothing of bertx takes part.
"""

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def _layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt().detach()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _secant(function):
    return lambda x, *args, **kwargs: x * (function(x, *args, **kwargs) / x).detach()


def _halves(function):
    def product(*args, **kwargs):
        if isinstance(args[0], str):
            equation, a, b = args
            return product_of(lambda a, b: function(equation, a, b), a, b)
        return product_of(function, *args)

    def product_of(multiply, a, b):
        if all(isinstance(one, Tensor) and one.requires_grad for one in (a, b)):
            return (multiply(a, b.detach()) + multiply(a.detach(), b)) / 2
        return multiply(a, b)

    return product


def _constant(function):
    return lambda *args, **kwargs: function(*args, **kwargs).detach()


_ACTIVATIONS = (functional.gelu, functional.silu, functional.relu, torch.tanh, Tensor.tanh)
_PRODUCTS = (
    torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mul,
    torch.multiply, Tensor.mul, torch.einsum,
)  # fmt: skip
_ROOTS = (torch.sqrt, torch.rsqrt, Tensor.sqrt, Tensor.rsqrt)
_SOFTMAXES = (functional.softmax, torch.softmax, Tensor.softmax)


class Detached(TorchFunctionMode):
    """The forward of a model inside of it has the gradient that the rules ask for.

    Args:
        constant_attention: Softmaxes are constants (CP-LRP), and nothing is halved but gates.
    """

    def __init__(self, constant_attention=False):
        super().__init__()
        self._instead = {functional.layer_norm: _layer_norm}
        self._instead |= {function: _secant(function) for function in _ACTIVATIONS}
        self._instead |= {function: _halves(function) for function in _PRODUCTS}
        self._instead |= {function: _constant(function) for function in _ROOTS}
        if constant_attention:
            self._instead |= {function: _constant(function) for function in _SOFTMAXES}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self._instead.get(func, func)(*args, **(kwargs or {}))


def relevance(model, embedding, arguments, constant_attention=False):
    """(B, T): Σ_D of embeddings times their gradient, for the predicted class of each text.

    The weights have to be constants: only activations are factors.
    """
    assert not any(weight.requires_grad for weight in model.parameters())
    held = []

    def cut(_module, _args, output):
        held.append(output.detach().requires_grad_())
        return held[0]

    handle = embedding.register_forward_hook(cut)
    with Detached(constant_attention):
        logits = model(**arguments).logits
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.amax(-1).sum(), held)
    return (held[0] * gradient).sum(-1).detach()
