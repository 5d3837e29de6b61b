"""What has no relevance rule is found in the graph, whatever wrote it there."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bertx.trace import Needs
from bertx.trace.nodes import Switch
from bertx.trace.recording import recording_functions
from bertx.trace.unruled import without_rule

attend = functional.scaled_dot_product_attention

RULED = {
    "a norm": lambda a, b: functional.layer_norm(a, (4,)),
    "a norm written out": lambda a, b: a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1),
    "another": lambda a, b: (a - a.mean()) / (a.var(-1, keepdim=True) + 1).sqrt().float(),
    "activations": lambda a, b: functional.gelu(a) + torch.tanh(b) + functional.silu(a),
    "products": lambda a, b: (a @ b.mT) @ b + torch.bmm(a[None], b.mT[None])[0] @ a,
    "gates": lambda a, b: torch.multiply(a, b) * 3 + a.mul(b),
    "attention": lambda a, b: torch.softmax(a @ b.mT, -1) @ b,
    "pooling": lambda a, b: (torch.softmax(a[:, 0], -1)[:, None] * b).sum(0),
    "a kernel": lambda a, b: attend(a[None, None], b[None, None], a[None, None]),
    "einsum": lambda a, b: torch.einsum("j,ij,kj->ik", torch.rand(4), a, b),
    "linear maps": lambda a, b: nn.Linear(4, 4).requires_grad_(False)(a) + a @ torch.rand(4, 4),
    "shapes": lambda a, b: torch.cat([a.mT.reshape(4, 3).flip(0)[1:].sum(0), b.amax(-1)]),
    "relu": lambda a, b: nn.ReLU(inplace=True)(a + b),
}  # fmt: skip
UNRULED = {
    "Exp": lambda a, b: a.exp(),
    "Erf": lambda a, b: torch.erf(a),
    "Pow": lambda a, b: (a + 1).pow_(2),
    "Sigmoid": lambda a, b: torch.special.expit(a),
    "Silu": lambda a, b: nn.SiLU(inplace=True)(a + 1),
    "Log": lambda a, b: a.log(),
    "Mul": lambda a, b: torch.mul(input=a, other=b),
    "Addcmul": lambda a, b: torch.addcmul(a, a, b),
    "Mm": lambda a, b: torch.tensordot(a, b.mT, 1),
    "Div": lambda a, b: a / b,
    "Reciprocal": lambda a, b: 1 / a,
    "Addmm": lambda a, b: functional.linear(a, b, torch.zeros(3)),
    "Glu": lambda a, b: nn.GLU()(a),
    "Softmax": lambda a, b: functional.softmin(a, -1),
    "NativeLayerNorm": lambda a, b: functional.layer_norm(a, (3, 4)),
    "Sqrt": lambda a, b: torch.sqrt(a),
    "Doubled": lambda a, b: Doubled.apply(a),
}  # fmt: skip


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


def unruled(compute, every_linear=False):
    torch.manual_seed(0)
    a, b = torch.rand(3, 4, requires_grad=True), torch.rand(3, 4, requires_grad=True)
    needs = Needs.LINEAR if every_linear else Needs.RELEVANCE
    with recording_functions(nn.Identity(), Switch(), needs):
        y = compute(a, b)
    return without_rule(y.sum(), every_linear)


@pytest.mark.parametrize("name", RULED)
def test_what_has_a_rule_is_passed(name):
    assert unruled(RULED[name]) == []


@pytest.mark.parametrize("name", UNRULED)
def test_what_has_none_is_named(name):
    assert name in unruled(UNRULED[name])


def test_attention_with_a_learned_query_or_a_mask_of_the_text_has_none():
    q = torch.rand(1, 1, 3, 4)
    assert unruled(lambda a, b: attend(q, a[None, None], b[None, None]))
    assert unruled(lambda a, b: attend(*[x[None, None] for x in (a, b, b)], (a @ b.mT)[None, None]))


def test_maps_by_weights_that_no_rule_for_linear_maps_sees():
    weight, bias = torch.rand(4, 4), torch.rand(4)
    assert unruled(lambda a, b: torch.addmm(bias, a, weight)) == []
    assert unruled(lambda a, b: torch.addmm(bias, a, weight), every_linear=True) == ["Addmm"]
