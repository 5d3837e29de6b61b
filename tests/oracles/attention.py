"""Attention methods and value zeroing written out in loops: one text, no padding, no trace.

They take what `transformers` itself returns with ``output_attentions`` and the eager attention,
and run the model's own layers; nothing here recomputes a layer from its parts.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from transformers.models.bert import modeling_bert


@contextmanager
def eager(model):
    """The model with its eager attention; ModernBERT's own rounds to float32, so BERT's there."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    path = "transformers.models.modernbert.modeling_modernbert.eager_attention_forward"
    with patch(path, modeling_bert.eager_attention_forward):
        yield model
    model.set_attn_implementation(before)


def attentions(model, ids):
    """Attention weights of every layer, L times (1, H, T, T), and the logits, in a live graph."""
    with torch.enable_grad(), eager(model):
        found = model(input_ids=ids, output_attentions=True)
    return found.attentions, found.logits[0]


def read_row(matrix, pooling):
    """The row of [CLS], or the mean of all rows."""
    return matrix[0] if pooling == "first" else matrix.mean(0)


def rollout(maps, residual, pooling):
    size = maps[0].shape[-1]
    product = torch.eye(size, dtype=maps[0].dtype)
    for weights in maps:
        mixed = torch.zeros(size, size, dtype=product.dtype)
        for head in weights:
            mixed += head / len(weights)
        mixed = residual * torch.eye(size, dtype=product.dtype) + (1 - residual) * mixed
        for t in range(size):
            mixed[t] = mixed[t] / mixed[t].sum()
        product = mixed @ product
    return read_row(product, pooling)


def tracing(maps, pooling):
    total = 0
    for h in range(maps[0].shape[0]):
        product = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype)
        for weights in maps:
            product = weights[h] @ product
        total = total + read_row(product, pooling)
    return total


def grad_sam(maps, gradients):
    heads, size = maps[0].shape[:2]
    scores = torch.zeros(size, dtype=maps[0].dtype)
    for weights, gradient in zip(maps, gradients, strict=True):
        for h in range(heads):
            for query in range(size):
                for key in range(size):
                    slope = gradient[h, query, key]
                    if slope > 0:
                        scores[key] += weights[h, query, key] * slope
    return scores / (len(maps) * heads * size)


def generic(maps, gradients, pooling):
    size = maps[0].shape[-1]
    relevance = torch.eye(size, dtype=maps[0].dtype)
    for weights, gradient in zip(maps, gradients, strict=True):
        mean = torch.zeros(size, size, dtype=relevance.dtype)
        for h in range(len(weights)):
            mean += torch.clamp(weights[h] * gradient[h], min=0) / len(weights)
        relevance = relevance + mean @ relevance
    return read_row(relevance, pooling)


def blocks_of(model):
    """The layers as the model calls them, and the module in each whose output is the values."""
    base, kind = model.base_model, model.config.model_type
    if kind == "distilbert":
        return [(b, b.attention.v_lin) for b in base.transformer.layer]
    if kind == "mpnet":
        return [(b, b.attention.attn.v) for b in base.encoder.layer]
    if kind == "deberta-v2":
        return [(b, b.attention.self.value_proj) for b in base.encoder.layer]
    if kind == "modernbert":
        return [(b, b.attn.Wqkv) for b in base.layers]
    if kind == "albert":
        (block,) = base.encoder.albert_layer_groups[0].albert_layers
        return [(block, block.attention.value)] * model.config.num_hidden_layers
    return [(b, b.attention.self.value) for b in base.encoder.layer]


def value_zeroing(model, ids):
    """Normalized maps (T, T) of every layer: each layer run again with one value vector zeroed."""
    calls = []
    with torch.no_grad(), eager(model):
        handles = [
            block.register_forward_hook(
                lambda block, args, named, output: calls.append((block, args, named, output)),
                with_kwargs=True,
            )
            for block in dict.fromkeys(block for block, _ in blocks_of(model))
        ]
        model(input_ids=ids)
        for handle in handles:
            handle.remove()
        pairs = zip(calls, blocks_of(model), strict=True)
        return [_zeroed(model, call, values) for call, (_, values) in pairs]


def _zeroed(model, call, values):
    block, args, named, output = call
    true = _state(output)
    size = len(true)
    distances = torch.zeros(size, size, dtype=true.dtype)
    for token in range(size):

        def zero(_module, _args, value, token=token):
            value = value.clone()
            width = model.config.hidden_size  # ModernBERT: values are the last of three parts
            value[:, token, -width:] = 0
            return value

        handle = values.register_forward_hook(zero)
        moved = _state(block(*args, **named))
        handle.remove()
        for t in range(size):
            cosine = (true[t] @ moved[t]) / (true[t].norm() * moved[t].norm())
            distances[t, token] = 1 - cosine
    return distances / distances.sum(1, keepdim=True)


def _state(output):
    return (output[0] if isinstance(output, tuple) else output)[0]


def aggregate(maps, pooling):
    product = torch.eye(len(maps[0]), dtype=maps[0].dtype)
    for layer in maps:
        product = layer @ product
    return read_row(product, pooling)
