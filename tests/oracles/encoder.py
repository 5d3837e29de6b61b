"""BERT and RoBERTa written out by hand from their weights: one sentence, no padding, no hooks.

Everything below starts at e, the output of the embedding block, and uses no module's forward.
"""

import math
from dataclasses import dataclass

import torch
from torch.autograd.functional import vjp


@dataclass
class Weights:
    layers: list
    head: list
    heads: int
    eps: float


def weights_of(model):
    base = model.base_model
    layers = []
    for block in base.encoder.layer:
        maps = {
            "q": block.attention.self.query,
            "k": block.attention.self.key,
            "v": block.attention.self.value,
            "o": block.attention.output.dense,
            "n1": block.attention.output.LayerNorm,
            "up": block.intermediate.dense,
            "down": block.output.dense,
            "n2": block.output.LayerNorm,
        }
        layers.append({k: (m.weight.detach(), m.bias.detach()) for k, m in maps.items()})
    bert = model.config.model_type == "bert"
    tops = (
        [base.pooler.dense, model.classifier]
        if bert
        else [model.classifier.dense, model.classifier.out_proj]
    )
    head = [(m.weight.detach(), m.bias.detach()) for m in tops]
    return Weights(
        layers, head, model.config.num_attention_heads, base.encoder.layer[0].output.LayerNorm.eps
    )


def affine(x, wb):
    return x @ wb[0].T + wb[1]


def layer_norm(x, wb, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps) * wb[0] + wb[1]


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def core(q, k, v, heads):
    """Context (T, D) and attention weights (H, T, T)."""
    size = q.shape[-1] // heads
    contexts, weights = [], []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        a = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(size), -1)
        weights.append(a)
        contexts.append(a @ v[:, part])
    return torch.cat(contexts, -1), torch.stack(weights)


def attention_block(x, layer, w):
    context, _ = core(affine(x, layer["q"]), affine(x, layer["k"]), affine(x, layer["v"]), w.heads)
    return layer_norm(affine(context, layer["o"]) + x, layer["n1"], w.eps)


def feed_forward_block(x, layer, w):
    inner = gelu(affine(x, layer["up"]))
    return layer_norm(affine(inner, layer["down"]) + x, layer["n2"], w.eps)


def last_states(e, w):
    for layer in w.layers:
        e = feed_forward_block(attention_block(e, layer, w), layer, w)
    return e


def logits(e, w):
    return affine(torch.tanh(affine(last_states(e, w)[0], w.head[0])), w.head[1])


def attention_tracing(e, w):
    """LAT: explicit matrix products, head by head."""
    maps = []
    for layer in w.layers:
        maps.append(
            core(affine(e, layer["q"]), affine(e, layer["k"]), affine(e, layer["v"]), w.heads)[1]
        )
        e = feed_forward_block(attention_block(e, layer, w), layer, w)
    total = torch.zeros(len(e), dtype=e.dtype)
    for h in range(w.heads):
        product = torch.eye(len(e), dtype=e.dtype)
        for layer_maps in maps:  # A_L ... A_2 A_1
            product = layer_maps[h] @ product
        total += product[0]
    return total


def linear_rule(x, wb, relevance, alpha=0.5, epsilon=1e-7):
    """The paper's rule as methods state it, token by token, each rescaled for itself."""
    weight, bias = wb
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    out = []
    for token, share in zip(x, relevance, strict=True):
        z_plus = (up * token).sum(1) + bias.clamp(min=0) + epsilon
        z_minus = (down * token).sum(1) + bias.clamp(max=0) - epsilon
        spread = alpha * share / z_plus @ up + (1 - alpha) * share / z_minus @ down
        size = (token * spread).abs()
        out.append(size * (share.sum() + 1e-7) / (size.sum() + 1e-7))
    return torch.stack(out)


def paper_lrp(e, w, target):
    """Scores (T,) of the paper's LRP, one sentence."""
    states = [e]
    middles = []
    for layer in w.layers:
        middles.append(attention_block(states[-1], layer, w))
        states.append(feed_forward_block(middles[-1], layer, w))
    full = torch.zeros_like(e)
    full[:1] = head_relevance(states[-1][:1], w, target)
    for layer, x, middle in zip(
        reversed(w.layers), reversed(states[:-1]), reversed(middles), strict=True
    ):
        full = _through_feed_forward(full, middle, layer, w)
        full = _through_attention(full, x, layer, w)
    return full.abs().sum(-1)


def head_relevance(read, w, target):
    """Relevance (1, D) of the vector that the head reads (1, D)."""
    pooled = torch.tanh(affine(read, w.head[0]))
    y = affine(pooled, w.head[1])
    relevance = torch.zeros_like(y)
    relevance[0, target] = torch.softmax(y, -1)[0, target]
    return linear_rule(read, w.head[0], linear_rule(pooled, w.head[1], relevance))


def _through_feed_forward(relevance, x, layer, w):
    inner = gelu(affine(x, layer["up"]))
    dense = affine(inner, layer["down"])
    to_dense = vjp(lambda d: layer_norm(d + x, layer["n2"], w.eps), dense, relevance)[1]
    to_input = vjp(lambda z: feed_forward_block(z, layer, w), x, relevance)[1]
    to_inner = linear_rule(inner, layer["down"], to_dense)
    return linear_rule(x, layer["up"], to_inner) + to_input


def _through_attention(relevance, x, layer, w):
    q, k, v = (affine(x, layer[name]) for name in "qkv")
    context = core(q, k, v, w.heads)[0]
    dense = affine(context, layer["o"])
    to_dense = vjp(lambda d: layer_norm(d + x, layer["n1"], w.eps), dense, relevance)[1]
    to_input = vjp(lambda z: attention_block(z, layer, w), x, relevance)[1]
    to_context = linear_rule(context, layer["o"], to_dense)
    shares = vjp(lambda *qkv: core(*qkv, w.heads)[0], (q, k, v), to_context)[1]
    return to_input + sum(linear_rule(x, layer[n], s) for n, s in zip("qkv", shares, strict=True))
