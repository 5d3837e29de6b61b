"""Layer-wise relevance propagation."""

from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.parts import check_parts
from bertx.attribution.readout import head_reads
from bertx.models.anatomy import Layer, UnsupportedArchitecture, own_code
from bertx.trace import Needs, Trace
from bertx.trace.rules import one_hot, split_weights, wide

_MODELS = ("bert", "camembert", "data2vec-text", "ernie", "roberta", "xlm-roberta")


class LRP(Attribution):
    """The paper's layer-wise relevance propagation, as its authors' public code computes it.

    Starts with R = p_c at the explained class. Linear maps use
    `bertx.trace.rules.split_weights`; tanh and GELU pass R on unchanged; the pooler gives all to
    [CLS]. Residual + LayerNorm: R is the
    cotangent of two vector-Jacobian products, one for the output of the block's last linear map
    (which then follows the rules) and one for the block's input in the live graph, along the skip
    *and* the transformed path; both arrive at the block's input and are added. Attention: the
    vector-Jacobian product of the context for the outputs of the query, key and value maps, each
    then through its linear rule. Score of a token: Σ_D |R_t|.

    Unsigned, and **not** conserved: the scores do not add up to p_c. What goes back through a
    LayerNorm sums to 0 over the features, so the linear rule, which hands on the sum of each token,
    has little more than its stabilizer of 1e-7 to hand on inside the encoder: nearly all that
    arrives comes through the live graph. Unless p_c is itself near 1e-7, the scores are an L1 norm
    of a gradient, Σ_D |∂(h · R)/∂e_t| to a few millionths of the largest, with h the last layer's
    [CLS] and R the relevance that the head hands to it as a constant. Expect them to rank words as
    `GradientSensitivity` does. (The authors always explain the last class; here it is the target.)
    BERT and RoBERTa only. Cost: one forward and about five forwards of products.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196.
    """

    needs = Needs.ACTIVATIONS

    def check(self, model: PreTrainedModel) -> None:
        """Raise `UnsupportedArchitecture` unless ``model`` has the layers of BERT or RoBERTa."""
        name = type(self).__name__
        if model.config.model_type not in _MODELS:
            raise UnsupportedArchitecture(name, model, ", ".join(_MODELS))
        check_parts(model, name)
        if head_reads(model, name) != "first":
            raise UnsupportedArchitecture(name, model, "heads that read the first token")

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative."""
        if own_code(trace.model):
            self.check(trace.model)
            head_reads(trace.model, type(self).__name__, trace.inputs)
        target = trace.target
        start = trace.probabilities.gather(1, target[:, None])[:, 0]
        relevance = one_hot(start, target, trace.logits.shape[1])
        for step in reversed(trace.anatomy.head):
            relevance = _linear(trace, step.linear, relevance)
        relevance = _at_first_token(relevance, trace.embeddings)
        layers = [layer for layer in trace.anatomy.layers if isinstance(layer, Layer)]
        for layer in reversed(layers):
            relevance = _attention(trace, layer, _feed_forward(trace, layer, relevance))
        return relevance.abs().sum(-1)


def _feed_forward(trace: Trace, layer: Layer, relevance: Tensor) -> Tensor:
    block_input, _ = trace.record[layer.up][0]
    inner, skip = _residual(trace, layer.down_norm, layer.down, block_input, relevance)
    return _linear(trace, layer.up, inner) + skip


def _attention(trace: Trace, layer: Layer, relevance: Tensor) -> Tensor:
    block_input, _ = trace.record[layer.query][0]
    inner, skip = _residual(trace, layer.mix_norm, layer.mix, block_input, relevance)
    context, _ = trace.record[layer.mix][0]
    parts = (layer.query, layer.key, layer.value)
    shares = trace.backward(context, [trace.record[part][0][1] for part in parts], inner)
    for part, share in zip(parts, shares, strict=True):
        skip = skip + _linear(trace, part, wide(share))
    return skip


def _residual(
    trace: Trace, norm: nn.LayerNorm, last: nn.Linear, block_input: Tensor, relevance: Tensor
) -> tuple[Tensor, Tensor]:
    _, dense = trace.record[last][0]
    _, output = trace.record[norm][0]
    through, skip = trace.backward(output, [dense, block_input], relevance)
    return _linear(trace, last, wide(through)), wide(skip)


def _linear(trace: Trace, part: nn.Linear, relevance: Tensor) -> Tensor:
    x, y = trace.record[part][0]
    if x.shape[:-1] != relevance.shape[:-1]:  # the head may run on all tokens; it reads the first
        x, y = x[:, 0], y[:, 0]
    weight, bias = wide(part.weight.detach()), wide(part.bias.detach())
    exact = y.dtype == weight.dtype
    x, y = wide(x.detach()), y.detach()
    return split_weights(x, y if exact else linear(x, weight, bias), weight, bias, relevance)


def _at_first_token(relevance: Tensor, like: Tensor) -> Tensor:
    spread = relevance.new_zeros(like.shape)
    spread[:, 0] = relevance
    return spread
