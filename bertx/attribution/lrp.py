"""Layer-wise relevance propagation as Wu & Ong compute it."""

from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.parts import check_parts
from bertx.attribution.readout import head_reads
from bertx.models.anatomy import Layer, UnsupportedArchitecture, anatomy, custom_code
from bertx.trace import Needs, Trace
from bertx.trace.rules import one_hot, split_weights, wide

_MODELS = ("bert", "camembert", "data2vec-text", "ernie", "roberta", "xlm-roberta")
"""Model types with the layers and heads of BERT or RoBERTa."""


class LRP(Attribution):
    """Layer-wise relevance propagation of Wu & Ong, as their public code computes it.

    R starts as p_c at the explained class and goes down through

    - linear maps by `bertx.trace.rules.split_weights`, which splits the weights by sign;
    - tanh and GELU unchanged;
    - the pooler to [CLS] alone;
    - residual + LayerNorm by two vector-Jacobian products with R as the cotangent. One is with
      respect to the output of the block's last linear map, and goes on from there by the rules. The
      other is with respect to the block's input, through the skip path *and* the transformed path.
      Both arrive at the block's input and are added;
    - attention by the vector-Jacobian product of the context with respect to the outputs of the
      query, key and value maps, each then through its linear rule.

    The score of a token is Σ_D |R_t|. (The authors always explain the last class; here it is the
    target.)

    Range: unsigned, class-specific, **not** conserved: the scores do not add up to p_c. The
    vector-Jacobian product of a LayerNorm sums to 0 over the features, and the linear rule passes
    on each token's sum, so inside the encoder it passes on little more than its stabilizer of 1e-7.
    Nearly all relevance arrives through the block inputs. Unless p_c is itself near 1e-7, the
    scores equal the L1 norm Σ_D |∂(h · R)/∂e_t| to a few millionths of the largest, with h the
    state of [CLS] in the last layer and R the relevance that the head passes to it, as a constant.
    Expect a ranking like that of `GradientSensitivity`.
    Cost: one forward, and products worth about five forwards.
    Refuses: models other than BERT and RoBERTa and those with the same layers (CamemBERT,
    data2vec-text, ERNIE, XLM-RoBERTa), and changed ones.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196.
    """

    needs = Needs.ACTIVATIONS

    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model without the layers of BERT or RoBERTa.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
        """
        name = type(self).__name__
        if model.config.model_type not in _MODELS:
            raise UnsupportedArchitecture(name, model, ", ".join(_MODELS))
        check_parts(model, name)
        if head_reads(model, name) != "first":
            raise UnsupportedArchitecture(name, model, "heads that read the first token")

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): not negative."""
        # Unlike other methods, this one compares no logits that would reveal custom code.
        if custom_code(trace.model):
            self.check(trace.model)
            head_reads(trace.model, type(self).__name__, trace.inputs)
        target = trace.target
        start = trace.probabilities.gather(1, target[:, None])[:, 0]
        relevance = one_hot(start, target, trace.logits.shape[1])
        parts = anatomy(trace.model, type(self).__name__)
        for step in reversed(parts.head):
            relevance = _linear(trace, step.linear, relevance)
        at_cls = relevance.new_zeros(trace.embeddings.shape)
        at_cls[:, 0] = relevance
        relevance = at_cls
        for layer in reversed(parts.layers):
            assert isinstance(layer, Layer)
            relevance = _attention(trace, layer, _feed_forward(trace, layer, relevance))
        return relevance.abs().sum(-1)


def _feed_forward(trace: Trace, layer: Layer, relevance: Tensor) -> Tensor:
    block_input, _ = trace.record[layer.up][0]
    inner, direct = _residual(trace, layer.down_norm, layer.down, block_input, relevance)
    return direct + _linear(trace, layer.up, inner)


def _attention(trace: Trace, layer: Layer, relevance: Tensor) -> Tensor:
    block_input, _ = trace.record[layer.query][0]
    inner, total = _residual(trace, layer.mix_norm, layer.mix, block_input, relevance)
    context, _ = trace.record[layer.mix][0]
    maps = (layer.query, layer.key, layer.value)
    shares = trace.backward(context, [trace.record[part][0][1] for part in maps], inner)
    for part, share in zip(maps, shares, strict=True):
        total = total + _linear(trace, part, wide(share))
    return total


def _residual(
    trace: Trace, norm: nn.LayerNorm, last: nn.Linear, block_input: Tensor, relevance: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the relevance of the input of a block's last linear map, and of the block's input."""
    _, dense = trace.record[last][0]
    _, output = trace.record[norm][0]
    to_dense, to_input = trace.backward(output, [dense, block_input], relevance)
    return _linear(trace, last, wide(to_dense)), wide(to_input)


def _linear(trace: Trace, part: nn.Linear, relevance: Tensor) -> Tensor:
    x, y = trace.record[part][0]
    if x.shape[:-1] != relevance.shape[:-1]:  # a head may run on all tokens and use the first
        x, y = x[:, 0], y[:, 0]
    weight, bias = wide(part.weight.detach()), wide(part.bias.detach())
    x, y = wide(x.detach()), y.detach()
    if y.dtype != weight.dtype:  # half precision has rounded y
        y = linear(x, weight, bias)
    return split_weights(x, y, weight, bias, relevance)
