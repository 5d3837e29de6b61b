"""DriftMonitor: how much explanations of the same texts change while a model trains."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.epoch_explainer import Chunk, EpochExplainer
from bertx.callbacks.shards import checksum
from bertx.callbacks.trainer import gather
from bertx.errors import InputError, check_positive
from bertx.metrics import Drift, Estimate, stabilized
from bertx.models.classifier import ModelChoice
from bertx.models.encode import Reading
from bertx.models.heads import Logits
from bertx.models.inputs import Unit, merge_by_unit
from bertx.trace import Trace

Key = tuple[int, int, int]
"""Index and checksum of a text, and the explained class."""

TextScores = dict[Key, Tensor]
"""Unit scores (U,) of each text, on the CPU."""

Packed = tuple[str, list[Key], list[int], Tensor]
"""A method's `TextScores` as its name, the keys, the numbers of units and all scores in one."""


@dataclass(frozen=True)
class DriftResult:
    """How far the explanations of one method have changed since the previous validation.

    Attributes:
        method: Name of the method.
        drift: Mean of `bertx.metrics.drift` over texts, in [0, 1].
        drift_se: Its standard error.
        spearman: Mean rank correlation of the previous and the current scores, in [-1, 1].
        spearman_se: Its standard error.
        count: Number of texts that have a drift.
        settled: The epoch since which the drift is low; None if it is not low yet.
    """

    method: str
    drift: float
    drift_se: float
    spearman: float
    spearman_se: float
    count: int
    settled: int | None

    def scalars(self) -> dict[str, float]:
        """Return the numbers by the key under which they are logged."""
        return {
            f"drift/{self.method}": self.drift,
            f"drift/{self.method}_se": self.drift_se,
            f"drift_rank/{self.method}": self.spearman,
            f"drift_settled/{self.method}": nan if self.settled is None else self.settled,
        }


class DriftMonitor(EpochExplainer):
    """Follows the explanations of a fixed sample of the validation texts while a model trains.

    At the end of every validation of a training run, it logs for each method
    ``val/drift/<method>``, the share of a text's attribution that has moved to other words, or to
    the other sign, since the previous explained validation (`bertx.metrics.drift`, in [0, 1]), and
    its standard error ``..._se``; ``val/drift_rank/<method>``, Spearman's correlation of the
    previous and the current scores; and ``val/drift_settled/<method>``, the epoch since which the
    drift is low. The same numbers go to ``<run>/bertx/val/drift.csv``. The first validation has
    nothing to compare with: its values are NaN, at which `EarlyStopping` stops unless
    ``check_finite`` is false. The last explanations are part of the checkpoint: a resumed run
    continues the curve.

    Args:
        methods: Attribution methods by the name under which they are logged; null for AttnLRP and
            the paper's four methods, if the model supports them, and a random control, which never
            drifts.
        every_n_epochs: Explain after every n-th training epoch.
        target: The explained class: ``gold``, the name or number of one class, or ``predicted``.
            Explanations of different classes are not compared: a text whose prediction changes is
            left out of that validation.
        low: Largest drift that counts as low, as a share of the largest drift of the run.
        patience: Number of low drifts in a row, up to the last one, after which explanations have
            settled.

    Attributes:
        results: The last results, one for each method.

    Raises:
        InputError: If a number is out of range; before training, if the module holds no classifier
            or a method does not support it.

    References:
        Reasoning Stabilization Point: A Training-Time Signal for Stable Evidence and Shortcut
        Reliance (Dhayalkar, 2026), https://arxiv.org/abs/2601.11625.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None = None,
        every_n_epochs: int = 1,
        max_examples: int | None = 256,
        target: str | int = "gold",
        unit: Unit = "word",
        low: float = 0.5,
        patience: int = 2,
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        model: ModelChoice | None = None,
        logits: Logits | None = None,
    ) -> None:
        super().__init__(
            methods, every_n_epochs, max_examples, target, unit, tokenizer, name, model, logits
        )
        if not 0 <= low <= 1:
            raise InputError(f"low: expected a share of the largest drift, in [0, 1], got {low}")
        check_positive(patience=patience)
        self.low = low
        self.patience = patience
        self.results: list[DriftResult] = []
        self._path: Path | None = None
        self._epoch = 0
        self._previous: dict[str, TextScores] = {}
        self._curves: dict[str, list[tuple[int, float]]] = {}

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Compare the explanations with the previous ones, and store them."""
        current: dict[str, TextScores] = {name: {} for name in self._methods}
        metrics = {name: Drift().to(pl_module.device) for name in self._methods}
        for examples, trace in chunks:
            for name, method in self._methods.items():
                unit_scores = _unit_scores(examples, trace, method(trace))
                _compare(metrics[name], self._previous.get(name, {}), unit_scores)
                current[name] |= unit_scores
            del trace  # frees the graph before the next one is built
        self.results = [self._result(name, metric) for name, metric in metrics.items()]
        for result in self.results:
            self._log(pl_module, stage, result.scalars())
        self._path = self._append(trainer, stage, "drift.csv", map(asdict, self.results))
        # Another rank may get a text the next time, and only rank zero writes checkpoints.
        self._previous = _unpack(gather(_pack(current)))
        self._epoch = trainer.current_epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the last explanations, their epoch, and the drifts so far."""
        return {"scores": _pack(self._previous), "epoch": self._epoch, "curves": self._curves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the explanations and drifts of a checkpoint."""
        self._previous = _unpack(state_dict["scores"])
        self._epoch = state_dict["epoch"]
        self._curves = state_dict["curves"]

    def _begin(self, trainer: Trainer, pl_module: LightningModule, loaders: Any) -> None:
        """Begin a sample in training only: separate validation and test runs have no drift."""
        super()._begin(trainer, pl_module, loaders)
        if trainer.state.fn != TrainerFn.FITTING:
            self._sample = None

    def _logged_groups(self) -> tuple[str, ...]:
        return ("drift", "drift_rank", "drift_settled")

    def _result(self, name: str, metric: Drift) -> DriftResult:
        """Return a result and add it to the curve; a collective call from the second time on."""
        if name not in self._previous:
            return DriftResult(name, nan, nan, nan, nan, 0, None)
        means: Estimate = metric.compute()
        (spearman, drift), (spearman_se, drift_se) = means.mean.tolist(), means.se.tolist()
        curve = self._curves.setdefault(name, [])
        curve.append((self._epoch, drift))
        settled = self._settled(curve)
        return DriftResult(name, drift, drift_se, spearman, spearman_se, means.value_count, settled)

    def _settled(self, curve: list[tuple[int, float]]) -> int | None:
        drifts = [drift for _, drift in curve]
        largest = max((drift for drift in drifts if not isnan(drift)), default=0.0)
        position = stabilized(drifts, self.low * largest, self.patience)
        return None if position is None else curve[position][0]

    def announce(self) -> None:
        """Print the path of the table and the methods that have settled."""
        if self._path is not None:
            epochs = [(r.method, r.settled) for r in self.results if r.settled is not None]
            settled = ", ".join(f"{name} since epoch {epoch}" for name, epoch in epochs)
            status = f"settled: {settled}" if settled else "no method has settled"
            print(f"Drift: {self._path} ({status})")


def _unit_scores(examples: Sequence[Reading], trace: Trace, scores: Tensor) -> TextScores:
    merged = merge_by_unit(scores, trace.inputs.units).cpu()
    counts, classes = trace.inputs.unit_counts.tolist(), trace.target.tolist()
    rows = zip(examples, classes, merged, counts, strict=True)
    return {
        (example.index, checksum(example.text), target): row[:count].clone()
        for example, target, row, count in rows
        if count
    }


def _compare(metric: Drift, before: TextScores, after: TextScores) -> None:
    """Add the texts that were explained before for the same class and with as many units."""
    both = [key for key in after if key in before and len(before[key]) == len(after[key])]
    if not both:
        return
    old = pad_sequence([before[key] for key in both], batch_first=True)
    new = pad_sequence([after[key] for key in both], batch_first=True)
    counts = torch.tensor([len(after[key]) for key in both])
    metric.update(old, new, torch.arange(new.shape[1]) < counts[:, None])


def _pack(methods: Mapping[str, TextScores]) -> list[Packed]:
    return [
        (name, list(scores), [len(row) for row in scores.values()], torch.cat([*scores.values()]))
        for name, scores in methods.items()
        if scores
    ]


def _unpack(packed: list[Packed]) -> dict[str, TextScores]:
    methods: dict[str, TextScores] = {}
    for name, keys, counts, scores in packed:
        methods.setdefault(name, {}).update(zip(keys, scores.split(counts), strict=True))
    return methods
