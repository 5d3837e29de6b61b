"""AgreementMonitor: how far attribution methods agree while a model trains."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations

import torch
from lightning.pytorch import LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.epoch_explainer import Chunk, EpochExplainer, log
from bertx.callbacks.trainer import epoch_and_step, run_folder
from bertx.errors import InputError
from bertx.metrics import Agreement, Estimate, explained_trace, spearman
from bertx.models.classifier import ModelChoice
from bertx.models.heads import Logits
from bertx.models.inputs import Unit, noun
from bertx.rendering import figure_svg
from bertx.rendering.correlations import matrix_figure
from bertx.rendering.files import write_whole
from bertx.report.loggers import log_figure, to_each

_NOTE = (
    "Spearman's correlation of {unit} scores, mean over {count} texts; of absolute values unless "
    "both methods are signed"
)


@dataclass(frozen=True)
class PairResult:
    """Agreement of two methods.

    Attributes:
        a: Name of the first method.
        b: Name of the second method.
        spearman: Mean rank correlation of their unit scores over texts, in [-1, 1].
        spearman_se: Its standard error.
        count: Number of texts that have a correlation.
        absolute: Whether absolute values are compared, as at least one method is unsigned.
    """

    a: str
    b: str
    spearman: float
    spearman_se: float
    count: int
    absolute: bool

    def scalars(self) -> dict[str, float]:
        """Return the numbers by the key under which they are logged."""
        key = f"agreement/{self.a}/{self.b}"
        return {key: self.spearman, f"{key}_se": self.spearman_se}


class AgreementMonitor(EpochExplainer):
    """Compares the explanations of every pair of methods.

    At the end of every validation and test epoch, it logs for each pair
    ``val/agreement/<a>/<b>``, the mean over texts of Spearman's correlation of their unit scores,
    and its standard error ``..._se``. Absolute values are compared unless both methods are signed.
    A text whose scores are all equal has no correlation. A matrix plot goes to every logger under
    ``val/agreement_matrix`` and to ``<run>/bertx/<stage>/agreement.svg``, the numbers to
    ``agreement.csv``. Agreement does not mean that the methods are right.

    Args:
        methods: At least two attribution methods by the name under which they are logged; null for
            AttnLRP and the paper's four methods, if the model supports them, and a random control,
            with which no method should agree.

    Attributes:
        results: The last results, one for each pair.

    References:
        Order in the Court: Explainable AI Methods Prone to Disagreement (Neely et al., 2021),
        https://arxiv.org/abs/2105.03287.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None = None,
        every_n_epochs: int = 1,
        max_examples: int | None = 256,
        target: str | int = "predicted",
        unit: Unit = "word",
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        model: ModelChoice | None = None,
        logits: Logits | None = None,
    ) -> None:
        super().__init__(
            methods, every_n_epochs, max_examples, target, unit, tokenizer, name, model, logits
        )
        if methods is not None and len(methods) == 1:
            raise InputError(
                f"AgreementMonitor: expected two methods or more, got only {', '.join(methods)}"
            )
        self.results: list[PairResult] = []

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Compare the methods on all texts and log the results."""
        names = list(self._methods)
        metrics = [Agreement(names, spearman).to(pl_module.device) for _ in range(2)]
        for _, trace in chunks:
            scores = explained_trace(trace, self._methods).scores
            mask = trace.inputs.unit_mask(scores.shape[2])
            for metric, compared in zip(metrics, (scores, scores.abs()), strict=True):
                metric.update(compared, mask)
            del trace  # frees the graph before the next one is built
        raw, absolute = (metric.compute() for metric in metrics)
        if not raw.counts.any():
            log.warning(f"{stage}: no example of the sample has units to rank; nothing is compared")
            return
        signs = torch.tensor([method.signed for method in self._methods.values()])
        signed = (signs[:, None] & signs).to(pl_module.device)
        estimate = Estimate(
            *(torch.where(signed, *parts) for parts in zip(raw, absolute, strict=True))
        )
        self.results = self._pairs(estimate)
        for pair in self.results:
            self._log(pl_module, stage, pair.scalars())
        self._append(trainer, stage, "agreement.csv", map(asdict, self.results))
        self._write(trainer, stage, estimate)

    def _logged_groups(self) -> tuple[str, ...]:
        return ("agreement",)

    def _pairs(self, estimate: Estimate) -> list[PairResult]:
        signed = [method.signed for method in self._methods.values()]
        mean, se, counts = (part.tolist() for part in estimate)
        return [
            PairResult(a, b, mean[i][j], se[i][j], int(counts[i][j]), not (signed[i] and signed[j]))
            for (i, a), (j, b) in combinations(enumerate(self._methods), 2)
        ]

    def _write(self, trainer: Trainer, stage: str, estimate: Estimate) -> None:
        folder = run_folder(trainer) / "bertx" / stage
        if not trainer.is_global_zero:
            return
        epoch, step = epoch_and_step(trainer)
        when = f"epoch {epoch}, step {step}"
        note = _NOTE.format(unit=noun(self.unit), count=int(estimate.counts.max()))
        figure = matrix_figure(list(self._methods), estimate.mean.tolist(), "Agreement", when, note)
        svg = figure_svg(figure)
        write_whole(folder / "agreement" / f"step={step:05d}.svg", svg)
        write_whole(folder / "agreement.svg", svg)
        to_each(trainer.loggers, log_figure, f"{stage}/agreement_matrix", figure, when, step)
