"""How nine architectures tell their attention where a token stands, as elementary steps."""

import math

import torch


def dot_products(steps, q, k, _layer, _mine):
    return steps.product(q, steps.turned(k), scale=1 / math.sqrt(q.value.shape[1]))


def with_position_bias(steps, q, k, layer, mine):
    """MPNet: a learned constant for every bucket of distances, the same in all layers."""
    head = mine.start // q.value.shape[1]
    table = layer["encoder"].relative_attention_bias.weight.detach()
    tokens = range(len(q.value))
    bias = torch.stack([torch.stack([table[_bucket(i - j), head] for j in tokens]) for i in tokens])
    return steps.add(dot_products(steps, q, k, layer, mine), constant=bias)


def _bucket(behind):
    """T5's bucket among 32 of a key that stands ``behind`` places before the query."""
    half = 16 if behind < 0 else 0
    distance = abs(behind)
    if distance < 8:
        return half + distance
    return half + min(15, 8 + int(math.log(distance / 8) / math.log(128 / 8) * 8))


def disentangled(steps, q, k, layer, mine):
    """DeBERTa: content to content, content to position, position to content; one scale for all."""
    config, encoder = layer["config"], layer["encoder"]
    distances = _distance_vectors(encoder, config)
    names = ("k", "q") if config.share_att_key else ("pos_k", "pos_q")
    keys, queries = (_affine(distances, layer[name])[:, mine] for name in names)
    scale = float(torch.tensor(q.value.shape[1] * 3.0).sqrt())  # the model's is a float32
    at = _distance_rows(len(q.value), config, len(distances))
    to_position = torch.stack([keys[row].T for row in at]) / scale  # (i, d, j)
    from_position = torch.stack([queries[row].T for row in at.T]) / scale  # (j, d, i)
    return steps.add(
        steps.product(q, steps.turned(k), scale=1 / scale),
        steps.rows(q, to_position),
        steps.turned(steps.rows(k, from_position)),
    )


def _distance_vectors(encoder, config):
    """Embeddings of the distances from -span to span - 1."""
    table = encoder.rel_embeddings.weight.detach()
    if "layer_norm" in config.norm_rel_ebd:
        norm = encoder.LayerNorm
        centred = table - table.mean(1, keepdim=True)
        sigma = torch.sqrt((centred**2).mean(1, keepdim=True) + norm.eps)
        table = centred / sigma * norm.weight.detach() + norm.bias.detach()
    return table


def _distance_rows(tokens, config, count):
    """Row of the distance vectors for every query i and key j."""
    farthest = config.max_relative_positions
    farthest = config.max_position_embeddings if farthest < 1 else farthest
    rows = torch.zeros(tokens, tokens, dtype=torch.long)
    for i in range(tokens):
        for j in range(tokens):
            row = _log_bucket(i - j, config.position_buckets, farthest) + count // 2
            rows[i, j] = min(max(row, 0), count - 1)
    return rows


def _log_bucket(distance, buckets, farthest):
    """Exact up to half of the buckets, logarithmic beyond."""
    middle = buckets // 2
    if buckets <= 0 or abs(distance) <= middle:
        return distance
    fraction = math.log(abs(distance) / middle) / math.log((farthest - 1) / middle)
    return int(math.copysign(math.ceil(fraction * (middle - 1)) + middle, distance))


def _affine(x, module):
    return x @ module.weight.detach().T + module.bias.detach()


def rotations(tokens, size, theta):
    """Rotation matrices (T, d, d) by the angles t θ^(-2m/d), which the model rounds to float32."""
    turns = torch.zeros(tokens, size, size, dtype=torch.float64)
    half = size // 2
    frequencies = 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size))
    for t in range(tokens):
        angles = torch.tensor(float(t), dtype=torch.float32) * frequencies
        for m in range(half):
            cos, sin = angles.cos()[m].double(), angles.sin()[m].double()
            turns[t, m, m] = turns[t, m + half, m + half] = cos
            turns[t, m + half, m] = -sin
            turns[t, m, m + half] = sin
    return turns
