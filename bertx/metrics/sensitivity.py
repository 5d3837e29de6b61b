"""Max-sensitivity: how much an explanation changes when the words move a little."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

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
    """Largest change of the explanation, relative to it, while the word embeddings move a little.

    max_s ‖Φ(x + d_s) - Φ(x)‖ / ‖Φ(x)‖, Φ the scores of the tokens that are units and ‖·‖ their
    Euclidean norm; where Φ(x) is 0, the change itself, as in captum. The explanation is made
    anew, for the same class, by the same method on a moved model: every element of the word
    embedding of every token id is shifted by a number that is uniform in ± ``radius`` times the
    root mean square of the embedding table. The shift depends on the seed, the draw and the id
    alone, so that a word moves alike wherever it stands and whoever asks: gradients, integrated
    gradients from [MASK], and methods that rewrite the text see one and the same model.

    Not negative; lower is better, and 0 for what does not look at the model, such as random
    scores: it says nothing without a metric of faithfulness beside it. Cost: ``samples`` times
    that of the explanation.

    Args:
        samples: Moves that are tried; the maximum grows with them.
        radius: Largest move of an embedding's element, in root mean squares of all of them.
        seed: Another seed is another draw.

    Raises:
        InputError: For a setting that cannot be; when used, if there is no method.

    References:
        On the (In)fidelity and Sensitivity of Explanations (Yeh et al., 2019),
        https://arxiv.org/abs/1901.09392, SENS_MAX, by sampling.
    """

    higher_is_better = False
    state = "max_sensitivity_sums"

    def __init__(self, samples: int = 10, radius: float = 0.02, seed: int = 0) -> None:
        check_positive(samples=samples)
        if not radius > 0:
            raise InputError(f"radius must be positive, got {radius}")
        super().__init__(("max_sensitivity",))
        self.samples = samples
        self.radius = radius
        self.seed = seed

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """(B, 1), NaN for a text without units."""
        if ranking.method is None:
            raise InputError(
                "MaxSensitivity explains the texts again: expected a method, got scores alone. "
                "Call measure(perturber, trace, scores, method), or leave the metric out."
            )
        trace = ranking.trace
        ranked = trace.inputs.units >= 0
        before = ranking.scores.to(PRECISION).masked_fill(~ranked, 0)
        with alone():
            farthest = self._farthest(trace, before, ranked, ranking.method)
        size = before.norm(dim=1)
        ratio = farthest / size.where(size > 0, 1)
        return ratio.masked_fill(~ranked.any(1), torch.nan)[:, None]

    def _farthest(self, trace: Trace, before: Tensor, ranked: Tensor, method: Scorer) -> Tensor:
        """The longest way (B,) that scores go from those before, over all moves."""
        needs = getattr(method, "needs", trace.needs)
        reach = self.radius * _element_size(trace.model)
        moves = _Moves(trace, reach, self.seed, self.samples)
        moved = moves.explained(method, needs)
        if moved is None:  # the method runs the model anew, with other rows
            each = (moves.explained_by(draw, method, needs) for draw in range(self.samples))
            moved = torch.stack([*each])
        return (moved.masked_fill(~ranked, 0) - before).norm(dim=2).amax(0)


@dataclass(frozen=True)
class _Moves:
    """Texts, and the models that are to explain them: the trace's, moved by each draw."""

    trace: Trace
    reach: float
    seed: int
    samples: int

    def explained(self, method: Scorer, needs: Needs) -> Tensor | None:
        """Scores (S, B, T) of all draws, which share batches; None if the method needs a model."""
        whole, count = self.trace.inputs, len(self.trace.inputs)
        scores = torch.zeros(self.samples * count, whole.units.shape[1], dtype=PRECISION)
        scores = scores.to(whole.units.device)
        for rows in self._batches(self.samples):
            draws, texts = rows // count, rows % count
            with moved_words(self.trace.model, whole.rows(texts), self.reach, self.seed, draws):
                moved = self._trace(texts, needs)
            with _runs(self.trace.model) as runs:
                found = method(moved)
            if runs:
                return None
            scores[rows, : found.shape[1]] = found.to(PRECISION)
        return scores.unflatten(0, (self.samples, count))

    def explained_by(self, draw: int, method: Scorer, needs: Needs) -> Tensor:
        """Scores (B, T) of one draw."""
        model, inputs = self.trace.model, self.trace.inputs
        scores = torch.zeros_like(inputs.units, dtype=PRECISION)
        with moved_words(model, inputs, self.reach, self.seed, torch.tensor([draw])):
            for rows in self._batches(1):
                found = method(self._trace(rows, needs))
                scores[rows, : found.shape[1]] = found.to(PRECISION)
        return scores

    def _batches(self, copies: int) -> Iterator[Tensor]:
        """Row numbers of so many copies of all texts, in batches without much padding."""
        lengths = self.trace.inputs.attention_mask.sum(1).tolist() * copies
        budget = budget_for(self.trace.inputs.units.device, recorded=True)
        for rows in chunks(range(len(lengths)), lengths.__getitem__, budget):
            yield torch.tensor(sorted(rows))

    def _trace(self, texts: Tensor, needs: Needs) -> Trace:
        whole = needs & (EXPLICIT | Needs.ACTIVATIONS)
        with nullcontext() if whole else first_token_alone(self.trace.model):
            inputs = self.trace.inputs.rows(texts)
            return Trace(self.trace.model, inputs, self.trace.target[texts], needs)


@exclusive
def moved_words(
    model: PreTrainedModel, inputs: Inputs, reach: float, seed: int, draws: Tensor
) -> Iterator[None]:
    """Shift the word embeddings of the texts' tokens, of [MASK] and of [PAD] wherever they stand.

    Args:
        model: The classifier; it is as before after the body.
        inputs: The texts whose token ids move. Others stay where they are.
        reach: Largest shift of an element.
        seed: Another seed is another set of draws.
        draws: Number of the draw of each row of a forward (B,), or one for all rows of any.
    """
    table = word_embedding(model, MaxSensitivity.__name__)
    size = table.get_parameter("weight").shape[1]
    ids, (numbers, which) = _known_ids(inputs), draws.unique(return_inverse=True)
    noise = [word_noise(ids, size, seed, draw) for draw in numbers.tolist()]
    shifts, which = reach * torch.stack(noise), which[:, None].to(ids.device)

    def move(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        places = torch.searchsorted(ids, args[0].contiguous()).clamp(max=len(ids) - 1)
        shifted = (ids[places] == args[0])[..., None]
        return output + (shifted * shifts[which, places]).to(output.dtype)

    handle = table.register_forward_hook(move)
    try:
        yield
    finally:
        handle.remove()


@exclusive
def _runs(model: PreTrainedModel) -> Iterator[list[None]]:
    """Collect an item for each run of the model's word embeddings."""
    runs: list[None] = []
    table = word_embedding(model, MaxSensitivity.__name__)
    handle = table.register_forward_hook(lambda *_: runs.append(None))
    try:
        yield runs
    finally:
        handle.remove()


def word_noise(ids: Tensor, size: int, seed: int, draw: int) -> Tensor:
    """Uniform numbers in [-1, 1) for token ids (K,), each row a function of its id: (K, size)."""
    generator = torch.Generator()
    rows = []
    for token in ids.cpu():
        generator.manual_seed(text_seed(token[None], seed, draw))
        rows.append(torch.rand(size, generator=generator, dtype=torch.float32))
    return 2 * torch.stack(rows).to(ids.device) - 1


def _element_size(model: PreTrainedModel) -> float:
    """Root mean square of the elements of the word embeddings."""
    weight = word_embedding(model, MaxSensitivity.__name__).get_parameter("weight").detach()
    return float(torch.linalg.vector_norm(weight, dtype=PRECISION)) / weight.numel() ** 0.5


def _known_ids(inputs: Inputs) -> Tensor:
    """Token ids of the texts, of [MASK] and of [PAD], each once and sorted (K,)."""
    written = [inputs.pad_token_id]
    if inputs.mask_token_id is not None:
        written.append(inputs.mask_token_id)
    ids = inputs.input_ids[inputs.attention_mask.bool()]
    return torch.cat([ids, ids.new_tensor(written)]).unique()
