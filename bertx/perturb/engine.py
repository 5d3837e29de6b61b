"""The perturbation engine: kept units -> distinct sequences -> packed forwards -> probabilities.

Every question that a curve asks of the model is a text of which some units are perturbed. All of
them come in one call, equal ones are answered once, and no forward carries a token that the model
does not have to see: what is dropped is gone, not padded.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.classifier import check_chooses, logits_of, takes
from bertx.models.inputs import Inputs
from bertx.models.last_layer import first_token_alone
from bertx.models.pretrained import first_position, longest_input
from bertx.models.scope import alone, evaluating, exclusive
from bertx.perturb.packing import bucket, budget_for, close_up, distinct_rows, pack

Operator = Literal["remove", "mask", "pad", "attention", "zero"]
"""What perturbing a token does.

``remove`` deletes its id and closes the sequence up, positions are numbered anew; ``mask`` writes
[MASK]; ``pad`` writes [PAD], which is still attended to; ``attention`` hides it from attention and
leaves all positions as they were; ``zero`` makes its word embedding zero.
"""

Precision = Literal["bf16"]
"""What matrices are multiplied in where it is not the model's own precision."""

ABSOLUTE = (
    *("albert", "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie"),
    *("roberta", "xlm-roberta"),
)
"""Model types in which a token's place is told by its position id alone, so that a hidden token can
be dropped. Others may measure distances between rows: there it is kept and masked, which is slower.
"""

_ID, _PLACE, _SEGMENT, _STATE = range(4)
"""Fields of a token."""

_PRESENT, _HIDDEN, _ZEROED = 1, 2, 3
"""State of a token; 0 is a place behind the end."""

_STATES = {"attention": _HIDDEN, "zero": _ZEROED}


class Work(NamedTuple):
    """What the engine has done.

    Attributes:
        asked: Sequences that it was asked for.
        distinct: Sequences that it forwarded, each once.
        tokens: Tokens in them.
        padding: Tokens of padding forwarded beside them.
        batches: Forwards.
    """

    asked: int = 0
    distinct: int = 0
    tokens: int = 0
    padding: int = 0
    batches: int = 0


class _Batch(NamedTuple):
    """Sequences from ``start`` to ``end`` (exclusive), forwarded ``width`` tokens long."""

    start: int
    end: int
    width: int


class Perturber:
    """Probabilities of a classifier for texts of which only some units stay.

    The model runs in evaluation mode and inference mode, with its own attention, in its present
    precision and the surrounding autocast, and is left as it was. Token ids are edited as they
    are; no text is decoded or tokenized again. Special tokens ([CLS], [SEP]) always stay.

    Args:
        model: A Hugging Face sequence classifier.
        operator: What happens to the tokens of a unit that does not stay.
        mask_token_id: Id of [MASK], None if the tokenizer has none.
        pad_token_id: Id of [PAD].
        token_budget: Largest number of tokens (rows times the longest) of one forward; a longer
            sequence is forwarded alone. None for what is fast on the model's device.
        compiled: Forward through ``torch.compile``, with lengths rounded up to powers of two and as
            many rows in every batch, so that few shapes are compiled: up to twice the tokens, and
            some minutes before the first answer. Otherwise the model runs uncompiled.
        precision: ``bf16`` to multiply matrices in bfloat16 under autocast, where the device
            calculates with it: about half of the time, and probabilities that differ by .01 at
            most. None for the model's precision and the surrounding autocast.

    Attributes:
        model: The classifier.
        operator: The operator.
        work: What was done since construction.

    Raises:
        InputError: If the operator does not exist, or writes [MASK] and there is none, or needs a
            hook on a model that is to be compiled, or the device only emulates the precision.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        operator: Operator = "mask",
        *,
        mask_token_id: int | None,
        pad_token_id: int,
        token_budget: int | None = None,
        compiled: bool = False,
        precision: Precision | None = None,
    ) -> None:
        check_chooses(model)
        check_operator(operator)
        check_precision(precision, model.device)
        if token_budget is not None and token_budget < 1:
            raise InputError(f"token_budget must be at least 1, got {token_budget}")
        if compiled and operator == "zero":
            raise InputError("operator 'zero' sets a hook, which no compiled model sees")
        self.model = model
        self.operator: Operator = operator
        self.work = Work()
        self._compiled = torch.compile(model, dynamic=False) if compiled else None
        self._precision = precision
        self._pad = pad_token_id
        self._written = _mask_id(mask_token_id) if operator == "mask" else pad_token_id
        self._budget = budget_for(model.device, token_budget)
        # A model left to itself may number by ids ([PAD] inside a text) and closes gaps.
        self._numbers = operator in ("pad", "attention", "zero") and takes(model, "position_ids")
        self._first_place = first_position(model)
        absolute = self._numbers and model.config.model_type in ABSOLUTE
        self._drops = operator == "remove" or (operator == "attention" and absolute)

    def __call__(self, inputs: Inputs, kept: Tensor) -> Tensor:
        """Answer all questions about a batch at once.

        Args:
            inputs: B texts of T tokens.
            kept: Whether each unit stays (B, N, U) in the N versions of a text, in whatever order;
                U is at least the largest number of units.

        Returns:
            Probabilities in [0, 1] (B, N, C), float32 (float64 from a float64 model); NaN where
            the model's logits are. Ordinary tensors, also when called in inference mode.

        Raises:
            InputError: If nothing is left of a text.
        """
        with alone(), torch.inference_mode(False), torch.no_grad():
            versions = self._versions(inputs, kept)
            first, which = distinct_rows(versions.flatten(1))
            lengths, order = versions[first, _STATE].count_nonzero(1).sort(descending=True)
            if not lengths[-1]:
                raise InputError(
                    f"operator {self.operator!r} leaves no token of a text without its units, as "
                    "the tokenizer puts none around it: take one that writes, such as 'pad'"
                )
            segments = "token_type_ids" in inputs.arguments(self.model)
            plan = self._plan(lengths.tolist())
            answers = self._answer(versions[first[order]], lengths.tolist(), plan, segments)
            self._count(len(versions), lengths.tolist(), plan)
            probabilities = torch.empty_like(answers).index_copy_(0, order, answers)[which]
            return probabilities.unflatten(0, kept.shape[:2])

    def _versions(self, inputs: Inputs, kept: Tensor) -> Tensor:
        """The N versions of all texts, field by field and closed up (B * N, F, T)."""
        units = inputs.units.clamp(min=0)[:, None].expand(-1, kept.shape[1], -1)
        stays = kept.gather(2, units) | (inputs.units < 0)[:, None]
        present = inputs.attention_mask.bool()[:, None].expand_as(stays)
        tokens = self._fields(inputs)
        if self._drops:
            present = present & stays
            versions = tokens[:, None].expand(-1, kept.shape[1], -1, -1)
        else:
            perturbed = self._overwrite(tokens)
            versions = torch.where(stays[:, :, None], tokens[:, None], perturbed[:, None])
        filler = tokens.new_tensor([self._pad, 0, 0, 0])
        return close_up(versions.flatten(0, 1), present.flatten(0, 1), filler)

    def _fields(self, inputs: Inputs) -> Tensor:
        """What the model has to know about each token: id, place, segment, state (B, F, T)."""
        ids, segments = inputs.input_ids, inputs.token_type_ids
        places = (inputs.attention_mask.cumsum(1) - 1 + self._first_place) * self._numbers
        segments = torch.zeros_like(ids) if segments is None else segments
        return torch.stack([ids, places, segments, torch.full_like(ids, _PRESENT)], 1).int()

    def _overwrite(self, tokens: Tensor) -> Tensor:
        perturbed = tokens.clone()
        perturbed[:, _STATE] = _STATES.get(self.operator, _PRESENT)
        if self.operator != "attention":
            perturbed[:, _ID] = self._written
        return perturbed

    def _answer(
        self, sequences: Tensor, lengths: list[int], plan: Sequence[_Batch], segments: bool
    ) -> Tensor:
        """Probabilities of the sequences (S, F, T), which come longest first (S, C)."""
        answers = []
        plain = self._compiled is None
        stance = torch.compiler.set_stance("force_eager" if plain else "default")
        first = first_token_alone(self.model) if plain else nullcontext()
        with evaluating(self.model), stance, first, self._narrow():
            for start, end, width in plan:
                tokens = self._fill(sequences[start:end, :, : lengths[start]], width)
                with torch.inference_mode(), self._zeroing(tokens[:, _STATE] == _ZEROED):
                    run = self.model if self._compiled is None else self._compiled
                    logits = logits_of(run, self._arguments(tokens, segments))[: end - start]
                    precision = torch.promote_types(logits.dtype, torch.float32)
                    answers.append(logits.softmax(-1, dtype=precision))
        return torch.cat(answers)

    def _narrow(self) -> AbstractContextManager[object]:
        """Multiply matrices in the precision."""
        if self._precision is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    def _plan(self, lengths: list[int]) -> list[_Batch]:
        """Which sequences go together, and how long they are when they are forwarded."""
        widths = lengths
        if self._compiled is not None:
            most = longest_input(self.model) or max(lengths)
            widths = [max(min(bucket(length), most), length) for length in lengths]
        return [_Batch(start, end, widths[start]) for start, end in pack(widths, self._budget)]

    def _fill(self, tokens: Tensor, width: int) -> Tensor:
        """Give a batch (S, F, T) the one shape of its width, for a compiled model."""
        if self._compiled is None:
            return tokens
        rows = torch.arange(max(self._budget.tokens // width, 1), device=tokens.device)
        tokens = tokens[rows.clamp(max=len(tokens) - 1)]
        padding = tokens.new_zeros(*tokens.shape[:2], width - tokens.shape[2])
        padding[:, _ID] = self._pad
        return torch.cat([tokens, padding], 2)

    def _arguments(self, tokens: Tensor, segments: bool) -> dict[str, Tensor]:
        ids, places, kinds, states = tokens.long().unbind(1)
        attended = (states == _PRESENT) | (states == _ZEROED)
        named = {"input_ids": ids, "attention_mask": attended.long()}
        if self._numbers:
            named["position_ids"] = places
        if segments:
            named["token_type_ids"] = kinds
        return named

    @exclusive
    def _zeroing(self, zeroed: Tensor) -> Iterator[None]:
        """Make the word embeddings of the tokens at ``zeroed`` (S, T) zero."""
        if self.operator != "zero":
            yield
            return

        def blank(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
            return output.masked_fill(zeroed[..., None], 0)

        handle = self.model.get_input_embeddings().register_forward_hook(blank)
        try:
            yield
        finally:
            handle.remove()

    def _count(self, asked: int, lengths: list[int], plan: Sequence[_Batch]) -> None:
        forwarded = sum((batch.end - batch.start) * batch.width for batch in plan)
        new = Work(asked, len(lengths), sum(lengths), forwarded - sum(lengths), len(plan))
        self.work = Work(*map(sum, zip(self.work, new, strict=True)))


def _mask_id(mask_token_id: int | None) -> int:
    if mask_token_id is None:
        raise InputError(
            "operator 'mask' writes the mask token, but its id is not known: use a tokenizer that "
            "has one (Inputs.from_batch takes it), or operator 'remove'."
        )
    return mask_token_id


def check_operator(operator: str) -> None:
    """Raise `InputError` for an operator that does not exist."""
    if operator not in get_args(Operator):
        raise InputError(f"operator {operator!r}: expected {', '.join(get_args(Operator))}")


def check_precision(precision: str | None, device: torch.device | None = None) -> None:
    """Raise `InputError` for a precision that does not exist, or that a device only emulates."""
    if precision not in (None, *get_args(Precision)):
        raise InputError(f"precision {precision!r}: expected bf16, or null for the model's")
    if precision is not None and device is not None and not _calculates_bf16(device):
        raise InputError(
            f"precision {precision!r}: this {device.type} does not calculate in bfloat16, and "
            "emulating it would be slower than float32. Leave the precision out."
        )


def _calculates_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
