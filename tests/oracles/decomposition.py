"""DecompX and CP-LRP written out from the weights: one text, no padding, token by token.

Weights are read by their names in the state dict. Attention weights are what `transformers` returns
with ``output_attentions``; everything else is computed here. A token's state is a pair: its vector
(D,), and the list of that vector's summands, one for each input token.
"""

import math

import torch

from tests.oracles.attention import attentions

BERT = {
    "v": "attention.self.value", "o": "attention.output.dense", "n1": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "n2": "output.LayerNorm",
}  # fmt: skip
NAMES = {
    "bert": ("bert.encoder.layer.{}.", BERT),
    "roberta": ("roberta.encoder.layer.{}.", BERT),
    "xlm-roberta": ("roberta.encoder.layer.{}.", BERT),
    "electra": ("electra.encoder.layer.{}.", BERT),
    "deberta-v2": ("deberta.encoder.layer.{}.", BERT | {"v": "attention.self.value_proj"}),
    "mpnet": (
        "mpnet.encoder.layer.{}.",
        BERT | {"v": "attention.attn.v", "o": "attention.attn.o", "n1": "attention.LayerNorm"},
    ),
    "distilbert": (
        "distilbert.transformer.layer.{}.",
        {"v": "attention.v_lin", "o": "attention.out_lin", "n1": "sa_layer_norm",
         "up": "ffn.lin1", "down": "ffn.lin2", "n2": "output_layer_norm"},
    ),
    "albert": (
        "albert.encoder.albert_layer_groups.0.albert_layers.0.",
        {"v": "attention.value", "o": "attention.dense", "n1": "attention.LayerNorm",
         "up": "ffn", "down": "ffn_output", "n2": "full_layer_layer_norm"},
    ),
    "modernbert": (
        "model.layers.{}.",
        {"n1": "attn_norm", "v": "attn.Wqkv", "o": "attn.Wo", "n2": "mlp_norm",
         "up": "mlp.Wi", "down": "mlp.Wo"},
    ),
}  # fmt: skip
HEADS = {
    "bert": ("bert.pooler.dense", torch.tanh, "classifier"),
    "albert": ("albert.pooler", torch.tanh, "classifier"),
    "electra": ("classifier.dense", lambda x: gelu(x), "classifier.out_proj"),
    "distilbert": ("pre_classifier", lambda x: x.clamp(min=0), "classifier"),
    "deberta-v2": ("pooler.dense", lambda x: gelu(x), "classifier"),
    "modernbert": ("head.dense", lambda x: gelu(x), "classifier"),
}
DENSE = ("classifier.dense", torch.tanh, "classifier.out_proj")
PROJECTIONS = {
    "electra": "electra.embeddings_project",
    "albert": "albert.encoder.embedding_hidden_mapping_in",
}


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_new(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class Network:
    """The weights of a model by role, and the constants of one text: attention weights."""

    def __init__(self, model, ids):
        self.kind = model.config.model_type
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        maps, logits = attentions(model, ids)
        self.maps = [weights[0].detach() for weights in maps]
        self.logits = logits.detach()
        with torch.no_grad():
            extra = {"mask": torch.ones_like(ids)} if self.kind == "deberta-v2" else {}
            self.embeddings = model.base_model.embeddings(ids, **extra)[0]
        # config.hidden_act is "gelu" everywhere but in ALBERT
        self.act = gelu_new if self.kind == "albert" else gelu
        self.eps = {"distilbert": 1e-12, "modernbert": 1e-5}.get(
            self.kind, getattr(model.config, "layer_norm_eps", None)
        )
        self.pooling = getattr(model.config, "classifier_pooling", "cls")

    def get(self, name):
        return self.weights[name + ".weight"], self.weights.get(name + ".bias")

    def layer(self, number):
        prefix, names = NAMES[self.kind]
        found = {}
        for role, name in names.items():
            name = prefix.format(number) + name
            found[role] = self.get(name) if name + ".weight" in self.weights else None
        if self.kind == "modernbert":  # queries, keys, values: the last third
            weight, bias = found["v"]
            size = len(weight) // 3
            found["v"] = (weight[-size:], None if bias is None else bias[-size:])
        return found


def spread(parts, bias, how):
    """Share a bias among the parts of one token."""
    if bias is None or how == "none":
        return parts
    if how == "dot":
        sizes = [abs(float(part @ bias)) for part in parts]
    else:
        sizes = [math.sqrt(float((part * part).sum())) for part in parts]
    if sum(sizes) == 0:
        sizes = [1.0 for _ in parts]
    return [part + bias * (size / sum(sizes)) for part, size in zip(parts, sizes, strict=True)]


def through_linear(token, wb, how):
    vector, parts = token
    weight, bias = wb
    moved = weight @ vector if bias is None else weight @ vector + bias
    return moved, spread([weight @ part for part in parts], bias, how)


def through_norm(token, wb, eps, how):
    vector, parts = token
    weight, bias = wb
    centred = vector - vector.mean()
    deviation = torch.sqrt((centred**2).mean() + eps)
    moved = centred / deviation * weight + (0 if bias is None else bias)
    parts = [(part - part.mean()) / deviation * weight for part in parts]
    return moved, spread(parts, bias, how)


def slope_of(function, vector):
    at_zero = {torch.tanh: 1.0, gelu: 0.5, gelu_new: 0.5}.get(function, 0.0)
    slopes = [float(function(x) / x) if x != 0 else at_zero for x in vector]
    return torch.tensor(slopes, dtype=vector.dtype)


def through_function(token, function):
    vector, parts = token
    slope = slope_of(function, vector)
    return function(vector), [part * slope for part in parts]


def add(one, other):
    return one[0] + other[0], [a + b for a, b in zip(one[1], other[1], strict=True)]


def through_gate(token, function):
    vector, parts = token
    half = len(vector) // 2
    a, g = vector[:half], vector[half:]
    slope = slope_of(function, a)
    moved = [0.5 * slope * part[:half] * g + 0.5 * function(a) * part[half:] for part in parts]
    return function(a) * g, moved


def attended(tokens, inner, layer, weights, how):
    """Residual plus attention; the value bias and the output bias are shared as one."""
    (wv, bv), (wo, bo) = layer["v"], layer["o"]
    heads, size = len(weights), len(wv) // len(weights)
    bias = sum(b for b in (None if bv is None else wo @ bv, bo) if b is not None)
    bias = None if isinstance(bias, int) else bias
    found = []
    for t, (vector, parts) in enumerate(tokens):
        for h in range(heads):
            rows = slice(h * size, (h + 1) * size)
            for s, (other, others) in enumerate(inner):
                share = weights[h, t, s]
                vector = vector + share * (wo[:, rows] @ (wv[rows] @ other))
                parts = [
                    part + share * (wo[:, rows] @ (wv[rows] @ x))
                    for part, x in zip(parts, others, strict=True)
                ]
        found.append((vector if bias is None else vector + bias, spread(parts, bias, how)))
    return found


def post_norm_layer(tokens, layer, weights, net, how):
    done = []
    for token in attended(tokens, tokens, layer, weights, how):
        middle = through_norm(token, layer["n1"], net.eps, how)
        inner = through_function(through_linear(middle, layer["up"], how), net.act)
        out = add(through_linear(inner, layer["down"], how), middle)
        done.append(through_norm(out, layer["n2"], net.eps, how))
    return done


def pre_norm_layer(tokens, layer, weights, net, how):
    inner = tokens
    if layer["n1"] is not None:
        inner = [through_norm(token, layer["n1"], net.eps, how) for token in tokens]
    done = []
    for token in attended(tokens, inner, layer, weights, how):
        wide = through_linear(through_norm(token, layer["n2"], net.eps, how), layer["up"], how)
        done.append(add(through_linear(through_gate(wide, net.act), layer["down"], how), token))
    return done


def start(net, how):
    e = net.embeddings
    tokens = []
    for t in range(len(e)):
        vector, own = e[t], e[t]
        if net.kind in PROJECTIONS and PROJECTIONS[net.kind] + ".weight" in net.weights:
            weight, bias = net.get(PROJECTIONS[net.kind])
            vector = weight @ e[t] + bias
            own = weight @ e[t] if how == "none" else vector
        tokens.append((vector, [own if k == t else torch.zeros_like(own) for k in range(len(e))]))
    return tokens


def decompx(model, ids, how):
    """Parts of the logits (T, C), and the logits (C,)."""
    net = Network(model, ids)
    tokens = start(net, how)
    layer_of = pre_norm_layer if net.kind == "modernbert" else post_norm_layer
    for number, weights in enumerate(net.maps):
        tokens = layer_of(tokens, net.layer(number), weights, net, how)
    if net.kind == "modernbert":
        tokens = [through_norm(t, net.get("model.final_norm"), net.eps, how) for t in tokens]
    read = tokens[0]
    if net.pooling == "mean":
        size = len(tokens)
        vector = sum(vector for vector, _ in tokens) / size
        read = (vector, [sum(parts[k] for _, parts in tokens) / size for k in range(size)])
    dense, function, top = HEADS.get(net.kind, DENSE)
    read = through_function(through_linear(read, net.get(dense), how), function)
    if net.kind == "modernbert":
        read = through_norm(read, net.get("head.norm"), net.eps, how)
    logits, parts = through_linear(read, net.get(top), how)
    assert torch.allclose(logits, net.logits, atol=1e-10)
    return torch.stack(parts), logits


def cp_lrp(model, ids, target):
    """Scores (T,): e times the Jacobian of the network with its constants held fixed."""
    net = Network(model, ids)
    constants = []
    exact = _forward(net, net.embeddings, constants, fixed=False)
    assert torch.allclose(exact, net.logits, atol=1e-10)

    def linearized(e):
        return _forward(net, e, iter(constants), fixed=True)

    jacobian = torch.autograd.functional.jacobian(linearized, net.embeddings)  # (C, T, D)
    return (net.embeddings * jacobian[target]).sum(-1)


def _forward(net, x, constants, fixed):
    """The logits; notes deviations and slopes in ``constants``, or takes them from it."""

    def constant(compute):
        if fixed:
            return next(constants)
        constants.append(compute())
        return constants[-1]

    def affine(x, wb):
        return x @ wb[0].T + (0 if wb[1] is None else wb[1])

    def norm(x, wb):
        centred = x - x.mean(-1, keepdim=True)
        deviation = constant(lambda: (centred.square().mean(-1, keepdim=True) + net.eps).sqrt())
        return centred / deviation * wb[0] + (0 if wb[1] is None else wb[1])

    def activated(x, function):
        return x * constant(lambda: function(x) / x)

    def gated(x):
        half = x.shape[-1] // 2
        a, g = activated(x[..., :half], net.act), x[..., half:]
        a_now, g_now = constant(a.detach), constant(g.detach)
        return 0.5 * (a * g_now + a_now * g)

    def mixed(x, layer, weights):
        values = affine(x, layer["v"])
        size = values.shape[-1] // len(weights)
        heads = [weights[h] @ values[:, h * size : (h + 1) * size] for h in range(len(weights))]
        return affine(torch.cat(heads, -1), layer["o"])

    if net.kind in PROJECTIONS and PROJECTIONS[net.kind] + ".weight" in net.weights:
        x = affine(x, net.get(PROJECTIONS[net.kind]))
    for number, weights in enumerate(net.maps):
        layer = net.layer(number)
        if net.kind == "modernbert":
            inner = x if layer["n1"] is None else norm(x, layer["n1"])
            x = x + mixed(inner, layer, weights)
            x = x + affine(gated(affine(norm(x, layer["n2"]), layer["up"])), layer["down"])
        else:
            middle = norm(x + mixed(x, layer, weights), layer["n1"])
            inner = activated(affine(middle, layer["up"]), net.act)
            x = norm(middle + affine(inner, layer["down"]), layer["n2"])
    if net.kind == "modernbert":
        x = norm(x, net.get("model.final_norm"))
    read = x.mean(0) if net.pooling == "mean" else x[0]
    dense, function, top = HEADS.get(net.kind, DENSE)
    read = activated(affine(read, net.get(dense)), function)
    read = norm(read, net.get("head.norm")) if net.kind == "modernbert" else read
    return affine(read, net.get(top))
