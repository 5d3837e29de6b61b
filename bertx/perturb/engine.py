"""The perturbation engine: kept units -> distinct sequences -> packed batches -> probabilities.

Metrics evaluate the model on texts with some units perturbed. The engine takes all such versions of
a batch in one call and evaluates equal versions only once. Where the operator allows it, perturbed
tokens are dropped from the sequence instead of being masked, so that batches are shorter.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError, check_positive
from bertx.models.classifier import check_chooses, logits_of, takes
from bertx.models.inputs import Inputs
from bertx.models.last_layer import first_token_alone
from bertx.models.pretrained import first_position, longest_input
from bertx.models.scope import alone, evaluating, exclusive
from bertx.perturb.packing import bucket, budget_for, close_up, distinct_rows, pack

Operator = Literal["remove", "mask", "pad", "attention", "zero"]
"""How a token is perturbed.

``remove`` deletes the token and closes the gap, so that later positions change. ``mask`` replaces
its id by [MASK], ``pad`` by [PAD], which is still attended to. ``attention`` excludes it from
attention without changing positions. ``zero`` sets its word embedding to zero.
"""

Precision = Literal["bf16"]
"""Precision of matrix multiplications under autocast, if not that of the model."""

ABSOLUTE = (
    *("albert", "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie"),
    *("roberta", "xlm-roberta"),
)
"""Model types in which the position id alone determines the position of a token.

Tokens that are excluded from attention can be dropped from their sequences. Other models may use
distances between rows. There the tokens are kept and masked, which is slower.
"""

_ID, _POSITION, _SEGMENT, _STATE = range(4)
"""Fields of a token."""

_PRESENT, _HIDDEN, _ZEROED = 1, 2, 3
"""States of a token; 0 is padding."""

_STATES = {"attention": _HIDDEN, "zero": _ZEROED}


class Work(NamedTuple):
    """Work done by an engine.

    Attributes:
        requested: Number of requested versions of texts.
        distinct: Number of distinct sequences evaluated.
        tokens: Number of tokens in these sequences.
        padding: Number of additional padding tokens.
        batches: Number of forward passes.
    """

    requested: int = 0
    distinct: int = 0
    tokens: int = 0
    padding: int = 0
    batches: int = 0


class _Batch(NamedTuple):
    """Sequences from ``start`` to ``end`` (exclusive), padded to ``width`` tokens."""

    start: int
    end: int
    width: int


class Perturber:
    """Predicts the probabilities of perturbed texts, in which only some units are kept.

    The model runs in evaluation mode and inference mode, with its own attention implementation and
    precision, under the surrounding autocast, and is restored afterwards. Token ids are edited
    directly; texts are never decoded and tokenized again. Special tokens ([CLS], [SEP]) are always
    kept.

    Args:
        model: A Hugging Face sequence classifier.
        operator: How the tokens of other units are perturbed.
        mask_token_id: Id of [MASK], None if the tokenizer has no such token.
        pad_token_id: Id of [PAD].
        token_budget: Largest number of tokens in one forward pass (rows times the longest row); a
            longer sequence has a batch to itself. None for the fastest on the model's device.
        compiled: Whether to use ``torch.compile``. Lengths are rounded up to powers of two and
            batches of a length have the same number of rows, so that few shapes are compiled. This
            takes up to twice the tokens, and some minutes before the first result.
        precision: ``bf16`` to multiply matrices in bfloat16 under autocast, on devices that support
            it. It takes about half the time, and probabilities differ by at most .01. None for the
            precision of the model and the surrounding autocast.

    Attributes:
        model: The classifier.
        operator: The operator.
        work: Work done since construction.

    Raises:
        InputError: If the operator or precision does not exist; if the operator needs [MASK] and
            the id is None; for the operator ``zero`` and a compiled model; or if the device only
            emulates the precision.

    Examples:
        Probabilities of each text without its first unit::

            engine = Perturber(model, "mask", mask_token_id=103, pad_token_id=0)
            kept = inputs.unit_mask()[:, None]  # (B, 1, U)
            kept[..., 0] = False
            probabilities = engine(inputs, kept)  # (B, 1, C)
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
        check_positive(token_budget=token_budget)
        if compiled and operator == "zero":
            raise InputError(
                "operator 'zero' sets a hook, which compiled models ignore. Choose another "
                "operator, or leave out compiled."
            )
        self.model = model
        self.operator: Operator = operator
        self.work = Work()
        self._compiled = torch.compile(model, dynamic=False) if compiled else None
        self._precision = precision
        self._pad = pad_token_id
        self._replacement = _mask_id(mask_token_id) if operator == "mask" else pad_token_id
        self._budget = budget_for(model.device, token_budget)
        # Without position ids, a model may derive them from the ids, where [PAD] has no position,
        # or number the tokens without gaps.
        self._positions = operator in ("pad", "attention", "zero") and takes(model, "position_ids")
        self._first_position = first_position(model)
        absolute = self._positions and model.config.model_type in ABSOLUTE
        self._drops = operator == "remove" or (operator == "attention" and absolute)

    def __call__(self, inputs: Inputs, kept: Tensor) -> Tensor:
        """Predict N perturbed versions of each text of a batch.

        Args:
            inputs: B texts of T tokens.
            kept: True for units that are kept in each version (B, N, U), with U at least the
                largest number of units of a text.

        Returns:
            Probabilities in [0, 1] (B, N, C), in float32 (float64 for a float64 model); NaN where
            the model's logits are NaN. Not an inference tensor, even in inference mode.

        Raises:
            InputError: If a version has no tokens.
        """
        with alone(), torch.inference_mode(False), torch.no_grad():
            versions = self._versions(inputs, kept)
            first, which = distinct_rows(versions.flatten(1))
            lengths, order = versions[first, _STATE].count_nonzero(1).sort(descending=True)
            if not lengths[-1]:
                raise InputError(
                    f"operator {self.operator!r} leaves no token of a text, because the tokenizer "
                    "adds no special tokens. Choose an operator that replaces tokens, such as "
                    "'pad'."
                )
            segments = "token_type_ids" in inputs.arguments(self.model)
            plan = self._plan(lengths.tolist())
            ordered = self._predict(versions[first[order]], lengths.tolist(), plan, segments)
            self._count(len(versions), lengths.tolist(), plan)
            probabilities = torch.empty_like(ordered).index_copy_(0, order, ordered)[which]
            return probabilities.unflatten(0, kept.shape[:2])

    def _versions(self, inputs: Inputs, kept: Tensor) -> Tensor:
        """Return the fields of the N versions of all texts, without gaps (B * N, F, T)."""
        units = inputs.units.clamp(min=0)[:, None].expand(-1, kept.shape[1], -1)
        unchanged = kept.gather(2, units) | (inputs.units < 0)[:, None]
        present = inputs.attention_mask.bool()[:, None].expand_as(unchanged)
        tokens = self._fields(inputs)
        if self._drops:
            present = present & unchanged
            versions = tokens[:, None].expand(-1, kept.shape[1], -1, -1)
        else:
            perturbed = self._perturbed(tokens)
            versions = torch.where(unchanged[:, :, None], tokens[:, None], perturbed[:, None])
        filler = tokens.new_tensor([self._pad, 0, 0, 0])
        return close_up(versions.flatten(0, 1), present.flatten(0, 1), filler)

    def _fields(self, inputs: Inputs) -> Tensor:
        """Return id, position, segment and state of each token (B, F, T)."""
        ids, segments = inputs.input_ids, inputs.token_type_ids
        positions = (inputs.attention_mask.cumsum(1) - 1 + self._first_position) * self._positions
        segments = torch.zeros_like(ids) if segments is None else segments
        return torch.stack([ids, positions, segments, torch.full_like(ids, _PRESENT)], 1).int()

    def _perturbed(self, tokens: Tensor) -> Tensor:
        """Perturb all tokens (B, F, T)."""
        perturbed = tokens.clone()
        perturbed[:, _STATE] = _STATES.get(self.operator, _PRESENT)
        if self.operator != "attention":
            perturbed[:, _ID] = self._replacement
        return perturbed

    def _predict(
        self, sequences: Tensor, lengths: list[int], plan: Sequence[_Batch], segments: bool
    ) -> Tensor:
        """Return probabilities (S, C) of sequences (S, F, T), sorted from the longest on."""
        probabilities = []
        eager = self._compiled is None
        stance = torch.compiler.set_stance("force_eager" if eager else "default")
        first = first_token_alone(self.model) if eager else nullcontext()
        with evaluating(self.model), stance, first, self._autocast():
            for start, end, width in plan:
                tokens = self._padded(sequences[start:end, :, : lengths[start]], width)
                with torch.inference_mode(), self._zeroing(tokens[:, _STATE] == _ZEROED):
                    run = self.model if self._compiled is None else self._compiled
                    logits = logits_of(run, self._arguments(tokens, segments))[: end - start]
                    precision = torch.promote_types(logits.dtype, torch.float32)
                    probabilities.append(logits.softmax(-1, dtype=precision))
        return torch.cat(probabilities)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    def _plan(self, lengths: list[int]) -> list[_Batch]:
        """Divide sequences, sorted from the longest on, into batches."""
        widths = lengths
        if self._compiled is not None:
            longest = longest_input(self.model) or max(lengths)
            widths = [max(min(bucket(length), longest), length) for length in lengths]
        return [_Batch(start, end, widths[start]) for start, end in pack(widths, self._budget)]

    def _padded(self, tokens: Tensor, width: int) -> Tensor:
        """Pad a batch (S, F, T) for a compiled model, to one shape for each width."""
        if self._compiled is None:
            return tokens
        rows = torch.arange(max(self._budget.tokens // width, 1), device=tokens.device)
        tokens = tokens[rows.clamp(max=len(tokens) - 1)]
        padding = tokens.new_zeros(*tokens.shape[:2], width - tokens.shape[2])
        padding[:, _ID] = self._pad
        return torch.cat([tokens, padding], 2)

    def _arguments(self, tokens: Tensor, segments: bool) -> dict[str, Tensor]:
        """Return the arguments of the model for a batch (S, F, T)."""
        ids, positions, types, states = tokens.long().unbind(1)
        attended = (states == _PRESENT) | (states == _ZEROED)
        arguments = {"input_ids": ids, "attention_mask": attended.long()}
        if self._positions:
            arguments["position_ids"] = positions
        if segments:
            arguments["token_type_ids"] = types
        return arguments

    @exclusive
    def _zeroing(self, zeroed: Tensor) -> Iterator[None]:
        """Set the word embeddings of tokens to zero where ``zeroed`` (S, T) is True."""
        if self.operator != "zero":
            yield
            return

        def zero(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
            return output.masked_fill(zeroed[..., None], 0)

        handle = self.model.get_input_embeddings().register_forward_hook(zero)
        try:
            yield
        finally:
            handle.remove()

    def _count(self, requested: int, lengths: list[int], plan: Sequence[_Batch]) -> None:
        padded = sum((batch.end - batch.start) * batch.width for batch in plan)
        self.work = Work(
            requested=self.work.requested + requested,
            distinct=self.work.distinct + len(lengths),
            tokens=self.work.tokens + sum(lengths),
            padding=self.work.padding + padded - sum(lengths),
            batches=self.work.batches + len(plan),
        )


def _mask_id(mask_token_id: int | None) -> int:
    if mask_token_id is None:
        raise InputError(
            "operator 'mask' needs the id of the mask token, got None: pass a tokenizer that has "
            "one (to Inputs.from_batch), or use operator 'remove'."
        )
    return mask_token_id


def check_operator(operator: str) -> None:
    """Raise `InputError` if the operator does not exist."""
    if operator not in get_args(Operator):
        raise InputError(f"operator {operator!r}: expected {', '.join(get_args(Operator))}")


def check_precision(precision: str | None, device: torch.device | None = None) -> None:
    """Raise `InputError` if the precision does not exist or the device only emulates it."""
    if precision not in (None, *get_args(Precision)):
        raise InputError(f"precision {precision!r}: expected bf16, or null for the model's")
    if precision is not None and device is not None and not _supports_bf16(device):
        raise InputError(
            f"precision {precision!r}: this {device.type} does not calculate in bfloat16, and "
            "emulating it would be slower than float32. Leave the precision out."
        )


def _supports_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
