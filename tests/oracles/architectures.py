"""Nine architectures written out as elementary steps from their weights: one text, no padding.

Everything starts at e, the output of the embedding block (T, D), and uses no module's forward.
"""

import torch

from tests.oracles.positions import disentangled, dot_products, rotations, with_position_bias
from tests.oracles.relevance import Node


def handed_down(steps, model, e, target):
    """Relevance (T, D) at ``e`` of the logit of class ``target``, started with the logit itself."""
    start = Node(e)
    output = logits(steps, model, start)
    given = torch.zeros_like(output.value)
    given[0, target] = output.value[0, target]
    steps.hand_down(output, given)
    return start.relevance


def pushed_up(steps, model, e, target):
    """Scores (T,) from below: what each token's ``e`` adds to the logit of the linear network."""
    start = Node(e)
    output = logits(steps, model, start)
    scores = torch.zeros(len(e), dtype=e.dtype)
    for t in range(len(e)):
        direction = torch.zeros_like(e)
        direction[t] = e[t]
        steps.push_forward(start, direction)
        scores[t] = output.direction[0, target]
    return scores


def logits(steps, model, e):
    """The logits (1, C) as a node."""
    config, base = model.config, model.base_model
    if config.model_type == "modernbert":
        return _modernbert(steps, model, e)
    x = e
    if config.model_type == "albert":
        x = steps.linear(x, base.encoder.embedding_hidden_mapping_in)
    elif config.model_type == "electra" and config.embedding_size != config.hidden_size:
        x = steps.linear(x, base.embeddings_project)
    scores = _SCORES.get(config.model_type, dot_products)
    for n, layer in enumerate(_layers(model)):
        below, x = x, _post_norm_layer(steps, x, layer, config, scores)
        if n == 0 and getattr(layer["encoder"], "conv", None) is not None:
            x = _convolution(steps, below, x, layer["encoder"].conv)
    dense, act, top = _head(model)
    pooled = steps.activation(steps.linear(steps.part(x, rows=slice(0, 1)), dense), act)
    return steps.linear(pooled, top)


def _post_norm_layer(steps, x, layer, config, scores):
    """Attention and feed-forward block, each closed by residual + LayerNorm."""
    q, k, v = (steps.linear(x, layer[name]) for name in "qkv")
    heads = _heads(config)
    seen = torch.ones(len(x.value), len(x.value), dtype=x.value.dtype)
    contexts = []
    for head in range(heads):
        mine = _columns(head, q.value.shape[1] // heads)
        parts = [steps.part(projected, columns=mine) for projected in (q, k, v)]
        weights = steps.softmax(scores(steps, *parts[:2], layer, mine), seen)
        contexts.append(steps.mixed(weights, parts[2]))
    attended = steps.linear(steps.beside(contexts), layer["o"])
    x = steps.norm(steps.add(attended, x), layer["n1"])
    inner = steps.activation(steps.linear(x, layer["up"]), layer["act"])
    return steps.norm(steps.add(steps.linear(inner, layer["down"]), x), layer["n2"])


def _convolution(steps, below, x, conv):
    """DeBERTa's n-gram layer: a sum of linear maps of the neighbours, beside the first layer."""
    kernel = conv.conv.weight.detach()  # (O, I, width)
    reach = kernel.shape[2] // 2
    neighbours = [
        steps.rows(steps.shifted(below, n - reach), kernel[..., n].T.expand(len(x.value), -1, -1))
        for n in range(kernel.shape[2])
    ]
    mixed = steps.add(*neighbours, constant=conv.conv.bias.detach())
    return steps.norm(steps.add(x, steps.activation(mixed, conv.conv_act)), conv.LayerNorm)


def _heads(config):
    return config.n_heads if config.model_type == "distilbert" else config.num_attention_heads


def _columns(head, size):
    return slice(head * size, (head + 1) * size)


_SCORES = {"mpnet": with_position_bias, "deberta-v2": disentangled}


def _modernbert(steps, model, e):
    """Pre-norm layers with rotated queries and keys, sliding windows and a gated feed-forward."""
    config, base = model.config, model.base_model
    x = e
    for layer, span in zip(base.layers, config.layer_types, strict=True):
        read = (
            x if isinstance(layer.attn_norm, torch.nn.Identity) else steps.norm(x, layer.attn_norm)
        )
        x = steps.add(x, _rotary_attention(steps, read, layer.attn, span, config))
        wide = steps.linear(steps.norm(x, layer.mlp_norm), layer.mlp.Wi)
        half = wide.value.shape[1] // 2
        active = steps.activation(
            steps.part(wide, columns=slice(0, half)), config.hidden_activation
        )
        gated = steps.gate(active, steps.part(wide, columns=slice(half, 2 * half)))
        x = steps.add(x, steps.linear(gated, layer.mlp.Wo))
    x = steps.norm(x, base.final_norm)
    mean = config.classifier_pooling == "mean"
    pooled = steps.mean(x) if mean else steps.part(x, rows=slice(0, 1))
    inner = steps.activation(steps.linear(pooled, model.head.dense), config.classifier_activation)
    return steps.linear(steps.norm(inner, model.head.norm), model.classifier)


def _rotary_attention(steps, x, attention, span, config):
    tokens, width = x.value.shape
    size = width // config.num_attention_heads
    joined = steps.linear(x, attention.Wqkv)
    turns = rotations(tokens, size, config.rope_parameters[span]["rope_theta"])
    places = torch.arange(tokens)
    apart = (places[:, None] - places[None, :]).abs()
    window = tokens if span == "full_attention" else config.local_attention // 2
    seen = (apart <= window).to(x.value.dtype)
    contexts = []
    for head in range(config.num_attention_heads):
        q, k, v = (
            steps.part(
                joined, columns=slice(width * n + head * size, width * n + (head + 1) * size)
            )
            for n in range(3)
        )
        q, k = steps.rows(q, turns), steps.rows(k, turns)
        weights = steps.softmax(dot_products(steps, q, k, None, None), seen)
        contexts.append(steps.mixed(weights, v))
    return steps.linear(steps.beside(contexts), attention.Wo)


_BERT = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "o": "attention.output.dense", "n1": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "n2": "output.LayerNorm",
}  # fmt: skip
_NAMES = {
    "distilbert": {
        "q": "attention.q_lin", "k": "attention.k_lin", "v": "attention.v_lin",
        "o": "attention.out_lin", "n1": "sa_layer_norm", "up": "ffn.lin1", "down": "ffn.lin2",
        "n2": "output_layer_norm",
    },
    "albert": {
        "q": "attention.query", "k": "attention.key", "v": "attention.value",
        "o": "attention.dense", "n1": "attention.LayerNorm", "up": "ffn", "down": "ffn_output",
        "n2": "full_layer_layer_norm",
    },
    "mpnet": _BERT | {
        "q": "attention.attn.q", "k": "attention.attn.k", "v": "attention.attn.v",
        "o": "attention.attn.o", "n1": "attention.LayerNorm",
    },
    "deberta-v2": _BERT | {
        "q": "attention.self.query_proj", "k": "attention.self.key_proj",
        "v": "attention.self.value_proj",
    },
}  # fmt: skip


def _layers(model):
    config, base = model.config, model.base_model
    encoder = base.transformer if config.model_type == "distilbert" else base.encoder
    blocks = _albert_blocks(encoder, config) if config.model_type == "albert" else encoder.layer
    act = config.activation if config.model_type == "distilbert" else config.hidden_act
    for block in blocks:
        names = _NAMES.get(config.model_type, _BERT)
        layer = {short: block.get_submodule(name) for short, name in names.items()}
        layer |= {"act": act, "encoder": encoder, "config": config}
        if config.model_type == "deberta-v2":
            layer["pos_k"] = getattr(block.attention.self, "pos_key_proj", None)
            layer["pos_q"] = getattr(block.attention.self, "pos_query_proj", None)
        yield layer


def _albert_blocks(encoder, config):
    for i in range(config.num_hidden_layers):
        group = i * config.num_hidden_groups // config.num_hidden_layers
        yield from encoder.albert_layer_groups[group].albert_layers


def _head(model):
    """(lower map, activation, upper map)."""
    kind, base = model.config.model_type, model.base_model
    if kind in ("bert", "albert"):
        dense = base.pooler.dense if kind == "bert" else base.pooler
        return dense, "tanh", model.classifier
    if kind == "distilbert":
        return model.pre_classifier, "relu", model.classifier
    if kind == "deberta-v2":
        return model.pooler.dense, model.config.pooler_hidden_act, model.classifier
    act = "gelu" if kind == "electra" else "tanh"
    return model.classifier.dense, act, model.classifier.out_proj
