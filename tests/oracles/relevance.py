"""Relevance handed down through elementary steps, each by its equation; no gradients.

A network is written as calls of `Steps`, which computes values, (tokens, features), and remembers
the steps. `Steps.hand_down` then walks back and divides every output's relevance among its inputs
(AttnLRP: Achtibat et al. 2024, arXiv 2402.05602, Eq. 7-15; CP-LRP: Ali et al. 2022, arXiv
2202.07304). `Steps.push_forward` is the check of the oracle itself: it walks upwards and carries a
direction through the linear network that the rules stand for.
"""

import math

import torch


def epsilon(x, matrix, bias, relevance, epsilon=0.0):
    """R_i = Σ_j x_i w_ij R_j / (z_j + ε sign z_j), z_j = Σ_i x_i w_ij + b_j; one row."""
    z = x @ matrix + bias
    z = z + epsilon * torch.where(z < 0, -1.0, 1.0)
    shares = torch.where(relevance == 0, 0, relevance / z)
    return (x[:, None] * matrix * shares).sum(1)


def alpha_beta(x, matrix, bias, relevance, alpha=1.0, beta=0.0):
    """R_i = Σ_j (α z⁺_ij / z⁺_j - β z⁻_ij / z⁻_j) R_j, z_ij = x_i w_ij; one row.

    z⁺_j and z⁻_j are the sums of what is positive and negative, the bias among it; where there is
    none of a kind, nothing of that kind is handed down.
    """
    assert abs(alpha - beta - 1) < 1e-12
    z = x[:, None] * matrix
    received = torch.zeros_like(x)
    for factor, parts, offset in (
        (alpha, z.clamp(min=0), bias.clamp(min=0)),
        (-beta, z.clamp(max=0), bias.clamp(max=0)),
    ):
        whole = parts.sum(0) + offset
        received += factor * torch.where(whole == 0, 0, parts / whole * relevance).sum(1)
    return received


ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_new": lambda x: (
        0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "relu": lambda x: torch.where(x > 0, x, 0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": torch.tanh,
}


class Node:
    """The value of one step, with its relevance and its direction once they were computed."""

    def __init__(self, value):
        self.value = value
        self.relevance = torch.zeros_like(value)
        self.direction = torch.zeros_like(value)


class Steps:
    """The steps of one forward.

    Args:
        rule: How weights and biases (nn.Linear) hand down: ``rule(x, matrix, bias, relevance)`` for
            one row. All other linear steps use ε = 0.
        constant_attention: Whether attention weights count as constants (CP-LRP).
        others: Rules of single modules that differ from ``rule``.
    """

    def __init__(self, rule=epsilon, constant_attention=False, others=None):
        self.rule = rule
        self.others = others or {}
        self.constant_attention = constant_attention
        self._steps = []

    def hand_down(self, output, relevance):
        """Start with ``relevance`` at ``output``; every node has its own afterwards."""
        output.relevance = relevance
        for node, down, _ in reversed(self._steps):
            down(node.relevance)

    def push_forward(self, start, direction):
        """Carry ``direction`` from ``start`` upwards; every node has its own afterwards."""
        start.direction = direction
        for node, _, along in self._steps:
            node.direction = along()

    def _step(self, value, down, along):
        node = Node(value)
        self._steps.append((node, down, along))
        return node

    def rows(self, x, matrices, bias=None, rule=epsilon):
        """y_t = x_t W_t + b with the constant ``matrices`` (T, I, O)."""
        shift = torch.zeros_like(matrices[0, 0]) if bias is None else bias
        value = torch.stack([row @ m + shift for row, m in zip(x.value, matrices, strict=True)])

        def down(relevance):
            for t in range(len(value)):
                x.relevance[t] += rule(x.value[t], matrices[t], shift, relevance[t])

        def along():
            pairs = zip(x.direction, matrices, strict=True)
            return torch.stack([row @ matrix for row, matrix in pairs])

        return self._step(value, down, along)

    def linear(self, x, module):
        """The map of an nn.Linear."""
        bias = None if module.bias is None else module.bias.detach()
        matrix = module.weight.detach().T
        rule = self.others.get(module, self.rule)
        return self.rows(x, matrix.expand(len(x.value), -1, -1), bias, rule)

    def norm(self, x, module):
        """LayerNorm: a linear map, as its denominator counts as constant."""
        width = x.value.shape[1]
        centring = torch.eye(width, dtype=x.value.dtype) - 1 / width
        weight = torch.diag(module.weight.detach())
        matrices = []
        for row in x.value:
            sigma = torch.sqrt(((row - row.mean()) ** 2).mean() + module.eps)
            matrices.append(centring @ weight / sigma)
        bias = None if module.bias is None else module.bias.detach()
        return self.rows(x, torch.stack(matrices), bias)

    def add(self, *addends, constant=0.0):
        """A sum: to each addend in proportion, the constant keeps its share."""
        value = sum(addend.value for addend in addends) + constant

        def down(relevance):
            for addend in addends:
                addend.relevance += torch.where(relevance == 0, 0, addend.value * relevance / value)

        return self._step(value, down, lambda: sum(addend.direction for addend in addends))

    def activation(self, x, name):
        """An elementwise function: relevance passes unchanged."""
        value = ACTIVATIONS[name](x.value)

        def down(relevance):
            x.relevance += relevance

        return self._step(value, down, lambda: x.direction * value / x.value)

    def gate(self, a, b):
        """An elementwise product: half to each factor."""
        value = a.value * b.value

        def down(relevance):
            a.relevance += relevance / 2
            b.relevance += relevance / 2

        return self._step(value, down, lambda: (a.direction * b.value + a.value * b.direction) / 2)

    def product(self, a, b, scale=1.0, shares=(0.5, 0.5)):
        """o_ij = scale Σ_k a_ik b_kj: R(a_ik) = Σ_j share · scale · a_ik b_kj R_ij / o_ij."""
        value = a.value @ b.value * scale

        def down(relevance):
            for i in range(len(a.value)):
                of_i = a.value[i][:, None] * b.value * scale * relevance[i] / value[i]  # (k, j)
                a.relevance[i] += shares[0] * of_i.sum(1)
                b.relevance += shares[1] * of_i

        def along():
            of_a, of_b = a.direction @ b.value, a.value @ b.direction
            return (shares[0] * of_a + shares[1] * of_b) * scale

        return self._step(value, down, along)

    def softmax(self, x, seen):
        """Over the last dimension where ``seen``: R_x = x ⊙ (R_s - s Σ R_s)."""
        powers = torch.exp(x.value - x.value.amax(1, keepdim=True)) * seen
        s = powers / powers.sum(1, keepdim=True)

        def down(relevance):
            for i in range(len(s)):
                x.relevance[i] += x.value[i] * (relevance[i] - s[i] * relevance[i].sum())

        def along():
            return s * (x.direction - (s * x.direction).sum(1, keepdim=True))

        return self._step(s, down, along)

    def mixed(self, weights, values):
        """Context of one head: attention ``weights`` (T, T) times ``values`` (T, d)."""
        shares = (0.0, 1.0) if self.constant_attention else (0.5, 0.5)
        return self.product(weights, values, shares=shares)

    def mean(self, x):
        """The mean of the rows (1, D)."""
        turned = self.turned(x)
        tokens = len(x.value)
        averaging = torch.full((len(turned.value), tokens, 1), 1 / tokens, dtype=x.value.dtype)
        return self.turned(self.rows(turned, averaging))

    def part(self, x, rows=slice(None), columns=slice(None)):
        """A block of x; the rest gets nothing from it."""

        def down(relevance):
            x.relevance[rows, columns] += relevance

        value = x.value[rows, columns].clone()
        return self._step(value, down, lambda: x.direction[rows, columns])

    def shifted(self, x, places):
        """Row t is row t + places of x, zeros beyond its ends."""
        selection = torch.zeros(len(x.value), len(x.value), dtype=x.value.dtype)
        for t in range(len(x.value)):
            if 0 <= t + places < len(x.value):
                selection[t, t + places] = 1

        def down(relevance):
            x.relevance += selection.T @ relevance

        return self._step(selection @ x.value, down, lambda: selection @ x.direction)

    def turned(self, x):
        """The transpose."""

        def down(relevance):
            x.relevance += relevance.T

        return self._step(x.value.T.clone(), down, lambda: x.direction.T)

    def beside(self, blocks):
        """Blocks of columns side by side."""
        width = blocks[0].value.shape[1]

        def down(relevance):
            for n, block in enumerate(blocks):
                block.relevance += relevance[:, n * width : (n + 1) * width]

        value = torch.cat([block.value for block in blocks], 1)
        return self._step(value, down, lambda: torch.cat([block.direction for block in blocks], 1))
