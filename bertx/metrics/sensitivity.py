"""Max-sensitivity: how much an explanation changes when word embeddings are shifted slightly."""

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError, check_positive
from bertx.metrics.base import FaithfulnessMetric, Ranking, Scorer
from bertx.metrics.estimates import PRECISION
from bertx.models.inputs import Inputs, text_seed
from bertx.models.last_layer import first_token_alone
from bertx.models.scope import alone, exclusive
from bertx.perturb.embeddings import word_embedding
from bertx.perturb.packing import budget_for, chunks
from bertx.trace import EXPLICIT, Needs, Trace


class MaxSensitivity(FaithfulnessMetric):
    """Largest relative change of an explanation under small shifts of the word embeddings.

    max_s ‖Φ(x + d_s) - Φ(x)‖ / ‖Φ(x)‖, with Φ the scores of the ranked tokens and ‖·‖ their
    Euclidean norm. If Φ(x) is 0, the numerator alone, as in captum. Each draw s shifts the
    embedding table: every element of the word embedding of every token id moves by a uniform number
    in ± ``radius`` times the root mean square of the table. The same method then explains the same
    class of the shifted model. The shift depends only on the seed, the draw and the token id.
    Therefore a word has the same shift everywhere, and all methods see the same models, including
    integrated gradients from [MASK] and methods that perturb the text.

    At least 0; lower is better. A method that ignores the model, such as random scores, reaches 0,
    so the metric says nothing without a faithfulness metric beside it. Cost: ``samples`` times the
    cost of the explanation.

    Args:
        samples: Number of shifts. The maximum grows with it.
        radius: Largest shift of an element, relative to the root mean square of the embedding
            table.
        seed: Seed of the shifts.

    Raises:
        InputError: If ``samples`` is less than 1 or ``radius`` is not positive; in `values`, if the
            ranking has no method.

    References:
        On the (In)fidelity and Sensitivity of Explanations (Yeh et al., 2019),
        https://arxiv.org/abs/1901.09392, SENS_MAX, estimated by sampling.
    """

    higher_is_better = False

    def __init__(self, samples: int = 10, radius: float = 0.02, seed: int = 0) -> None:
        check_positive(samples=samples)
        if not radius > 0:
            raise InputError(f"radius must be positive, got {radius}")
        super().__init__(("max_sensitivity",))
        self.samples = samples
        self.radius = radius
        self.seed = seed

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the largest relative change (B, 1), NaN for a text without units."""
        if ranking.method is None:
            raise InputError(
                "MaxSensitivity explains the texts again: expected a method, got scores alone. "
                "Call measure(perturber, trace, scores, method), or leave the metric out."
            )
        trace = ranking.trace
        ranked = trace.inputs.units >= 0
        scores = ranking.scores.to(PRECISION).masked_fill(~ranked, 0)
        with alone():
            shifted = self._explain_shifted(trace, ranking.method).masked_fill(~ranked, 0)
        change = (shifted - scores).norm(dim=2).amax(0)
        size = scores.norm(dim=1)
        relative = change / size.where(size > 0, 1)
        return relative.masked_fill(~ranked.any(1), torch.nan)[:, None]

    def _explain_shifted(self, trace: Trace, method: Scorer) -> Tensor:
        """Return the token scores (S, B, T) for each of the S shifted models."""
        reach = self.radius * _root_mean_square(trace.model)
        scores = self._explain_together(trace, method, reach)
        if scores is not None:
            return scores
        draws = [self._explain_draw(trace, method, reach, draw) for draw in range(self.samples)]
        return torch.stack(draws)

    def _explain_together(self, trace: Trace, method: Scorer, reach: float) -> Tensor | None:
        """Return the scores (S, B, T) of all draws, which share batches.

        None if the method itself runs the model, whose rows would not be those of the draws.
        """
        inputs, count = trace.inputs, len(trace.inputs)
        scores = torch.zeros(self.samples * count, inputs.units.shape[1], dtype=PRECISION)
        scores = scores.to(inputs.units.device)
        for rows in _batches(inputs, self.samples):
            draws, texts = rows // count, rows % count
            with shifted_words(trace.model, inputs.rows(texts), reach, self.seed, draws):
                shifted = _retraced(trace, texts, method)
            with _model_runs(trace.model) as runs:
                part = method(shifted)
            if runs:
                return None
            scores[rows, : part.shape[1]] = part.to(PRECISION)
        return scores.unflatten(0, (self.samples, count))

    def _explain_draw(self, trace: Trace, method: Scorer, reach: float, draw: int) -> Tensor:
        """Return the scores (B, T) of one draw."""
        scores = torch.zeros_like(trace.inputs.units, dtype=PRECISION)
        with shifted_words(trace.model, trace.inputs, reach, self.seed, torch.tensor([draw])):
            for rows in _batches(trace.inputs, 1):
                part = method(_retraced(trace, rows, method))
                scores[rows, : part.shape[1]] = part.to(PRECISION)
        return scores


def _batches(inputs: Inputs, copies: int) -> Iterator[Tensor]:
    """Yield the row numbers of copies of all texts, in batches of similar lengths."""
    lengths = inputs.attention_mask.sum(1).tolist() * copies
    budget = budget_for(inputs.units.device, recorded=True)
    for rows in chunks(range(len(lengths)), lengths.__getitem__, budget):
        yield torch.tensor(sorted(rows))


def _retraced(trace: Trace, texts: Tensor, method: Scorer) -> Trace:
    """Record another forward pass of some texts, for the same classes."""
    needs = getattr(method, "needs", trace.needs)
    whole = needs & (EXPLICIT | Needs.ACTIVATIONS)
    with nullcontext() if whole else first_token_alone(trace.model):
        return Trace(trace.model, trace.inputs.rows(texts), trace.target[texts], needs)


@exclusive
def shifted_words(
    model: PreTrainedModel, inputs: Inputs, reach: float, seed: int, draws: Tensor
) -> Iterator[None]:
    """Shift the word embeddings of the texts' tokens, [MASK] and [PAD], also in other texts.

    Args:
        model: The classifier. It is restored after the body.
        inputs: The texts whose token ids are shifted. Other token ids are not.
        reach: Largest shift of an element.
        seed: Seed of the shifts.
        draws: Index of the draw for each row of a forward pass (B,), or a single one for all rows
            of any forward pass.
    """
    table = word_embedding(model, MaxSensitivity.__name__)
    size = table.get_parameter("weight").shape[1]
    ids, (numbers, which) = _token_ids(inputs), draws.unique(return_inverse=True)
    noise = [word_noise(ids, size, seed, draw) for draw in numbers.tolist()]
    shifts, which = reach * torch.stack(noise), which[:, None].to(ids.device)

    def shift(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        places = torch.searchsorted(ids, args[0].contiguous()).clamp(max=len(ids) - 1)
        shifted = (ids[places] == args[0])[..., None]
        return output + (shifted * shifts[which, places]).to(output.dtype)

    handle = table.register_forward_hook(shift)
    try:
        yield
    finally:
        handle.remove()


@exclusive
def _model_runs(model: PreTrainedModel) -> Iterator[list[None]]:
    """Collect one item for each forward pass of the model's word embeddings."""
    runs: list[None] = []
    table = word_embedding(model, MaxSensitivity.__name__)
    handle = table.register_forward_hook(lambda *_: runs.append(None))
    try:
        yield runs
    finally:
        handle.remove()


def word_noise(ids: Tensor, size: int, seed: int, draw: int) -> Tensor:
    """Return uniform numbers in [-1, 1) (K, size), each row depending only on its token id (K,)."""
    generator = torch.Generator()
    rows = []
    for token in ids.cpu():
        generator.manual_seed(text_seed(token[None], seed, draw))
        rows.append(torch.rand(size, generator=generator, dtype=torch.float32))
    return 2 * torch.stack(rows).to(ids.device) - 1


def _root_mean_square(model: PreTrainedModel) -> float:
    """Return the root mean square of the elements of the word embeddings."""
    weight = word_embedding(model, MaxSensitivity.__name__).get_parameter("weight").detach()
    return float(torch.linalg.vector_norm(weight, dtype=PRECISION)) / weight.numel() ** 0.5


def _token_ids(inputs: Inputs) -> Tensor:
    """Return the distinct token ids of the texts, [MASK] and [PAD], sorted (K,)."""
    special = [inputs.pad_token_id]
    if inputs.mask_token_id is not None:
        special.append(inputs.mask_token_id)
    ids = inputs.input_ids[inputs.attention_mask.bool()]
    return torch.cat([ids, ids.new_tensor(special)]).unique()
