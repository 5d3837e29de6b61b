"""AgreementMonitor: whether the methods say the same of a model, while it trains."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations

import torch
from lightning.pytorch import LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.base import Chunk, Probe, log
from bertx.callbacks.run import here, run_folder
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
    "both methods have a sign"
)


@dataclass(frozen=True)
class PairResult:
    """How far two methods agree.

    Attributes:
        a: The one.
        b: The other.
        spearman: Mean rank correlation of their unit scores over texts, in [-1, 1].
        spearman_se: Its standard error.
        count: Number of texts that have one.
        absolute: Whether absolute values are compared, as not both methods have a sign.
    """

    a: str
    b: str
    spearman: float
    spearman_se: float
    count: int
    absolute: bool

    def scalars(self) -> dict[str, float]:
        """Every number under the key by which it is logged."""
        key = f"agreement/{self.a}/{self.b}"
        return {key: self.spearman, f"{key}_se": self.spearman_se}


class AgreementMonitor(Probe):
    """Compares the explanations of each two methods with each other.

    At the end of every validation and test epoch, for each two methods:
    ``val/agreement/<a>/<b>``, the mean over texts of Spearman's correlation of their unit scores,
    with its standard error ``..._se``. Unless both methods have a sign, absolute values are
    compared. A text whose scores are all equal has no correlation. A picture of all pairs goes to
    every logger under ``val/agreement_matrix`` and to ``<run>/bertx/<stage>/agreement.svg``, the
    numbers to ``agreement.csv``. Methods that agree need not be right.

    Args:
        methods: At least two attribution methods by the name under which they are logged; null for
            AttnLRP, the paper's four, as far as the model supports them, and a random control,
            with which nothing should agree.

    Attributes:
        results: The last results, one for each two methods.

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
                f"AgreementMonitor: expected two methods or more, got {', '.join(methods)} alone"
            )
        self.results: list[PairResult] = []

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Compare the methods on all texts, and log what that comes to."""
        names = list(self._methods)
        metrics = [Agreement(names, spearman).to(pl_module.device) for _ in range(2)]
        for _, trace in chunks:
            scores = explained_trace(trace, self._methods).scores
            mask = trace.inputs.unit_mask(scores.shape[2])
            for metric, compared in zip(metrics, (scores, scores.abs()), strict=True):
                metric.update(compared, mask)
            del trace  # and the graph, before the next one is made
        raw, absolute = (metric.compute() for metric in metrics)
        if not raw.counts.any():
            log.warning(f"{stage}: no example of the sample has units to rank; nothing is compared")
            return
        signs = torch.tensor([method.signed for method in self._methods.values()])
        both = (signs[:, None] & signs).to(pl_module.device)
        chosen = Estimate(*(torch.where(both, *parts) for parts in zip(raw, absolute, strict=True)))
        self.results = self._pairs(chosen)
        for pair in self.results:
            self._log(pl_module, stage, pair.scalars())
        self._append(trainer, stage, "agreement.csv", map(asdict, self.results))
        self._write(trainer, stage, chosen)

    def _groups(self) -> tuple[str, ...]:
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
        epoch, step = here(trainer)
        when = f"epoch {epoch}, step {step}"
        note = _NOTE.format(unit=noun(self.unit), count=int(estimate.counts.max()))
        figure = matrix_figure(list(self._methods), estimate.mean.tolist(), "Agreement", when, note)
        picture = figure_svg(figure)
        write_whole(folder / "agreement" / f"step={step:05d}.svg", picture)
        write_whole(folder / "agreement.svg", picture)
        to_each(trainer.loggers, log_figure, f"{stage}/agreement_matrix", figure, when, step)
