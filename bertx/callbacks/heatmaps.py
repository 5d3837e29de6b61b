"""HeatmapLogger: the words of a few texts, coloured by the scores of each method."""

from collections.abc import Iterator, Sequence
from math import nan
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution, Random
from bertx.callbacks.epoch_explainer import Chunk, EpochExplainer
from bertx.callbacks.trainer import epoch_and_step, gather, run_folder, texts_are_logged
from bertx.metrics import agreement, spearman
from bertx.models.classifier import ModelChoice, class_names
from bertx.models.encode import Reading
from bertx.models.heads import Logits
from bertx.models.inputs import Unit, merge_by_unit
from bertx.rendering import Heatmap, HeatmapRow, write_heatmaps
from bertx.rendering.heatmap_file import ExplainedText, HeatmapFile, write_heatmap_file
from bertx.report.loggers import log_heatmaps, to_each
from bertx.trace import Trace

MOST_CLASSES = 8
"""With up to this many classes, scores for every class are stored, not only for the target."""


class HeatmapLogger(EpochExplainer):
    """Logs a table of heatmaps at the end of every validation and test epoch.

    There is one row per example: epoch, step, text, gold and predicted class, probability of the
    predicted class, and one heatmap per method, with the scores of word pieces summed to words. The
    table goes to every logger under ``val/heatmaps`` or ``test/heatmaps`` and, as a page, to
    ``<run>/bertx/<stage>/heatmaps.html``. ``heatmaps.json`` beside it holds the scores, for every
    class if there are at most eight, from which ``bertx report`` draws.

    Args:
        methods: Attribution methods by the name of their column; null for AttnLRP and the paper's
            four methods, if the model supports them, and a random control.
        max_examples: Number of examples, the same ones in every epoch.
        unit: What is coloured: ``word``, ``whitespace`` or ``token``.
        log_text: Whether texts may go to the loggers. If false, no callback of the trainer sends
            any: loggers get the index of each text and its number of words instead, with classes
            and scores. The page and the other files of the run are unaffected.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None = None,
        every_n_epochs: int = 1,
        max_examples: int | None = 16,
        target: str | int = "predicted",
        unit: Unit = "word",
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        model: ModelChoice | None = None,
        logits: Logits | None = None,
        log_text: bool = True,
    ) -> None:
        super().__init__(
            methods, every_n_epochs, max_examples, target, unit, tokenizer, name, model, logits
        )
        self.log_text = log_text
        self.page: Path | None = None

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Explain this rank's examples, gather those of all ranks, and write and log the table."""
        epoch, step = epoch_and_step(trainer)
        explained: list[ExplainedText] = []
        for examples, trace in chunks:
            explained += self._texts(examples, trace)
            del trace  # frees the graph before the next one is built
        texts = sorted(gather(explained), key=lambda text: text.index)
        folder = run_folder(trainer) / "bertx" / stage
        if not texts or not trainer.is_global_zero:
            return
        signed = {name: method.signed for name, method in self._methods.items()}
        file = HeatmapFile(epoch, step, self.unit, class_names(self._model), signed, texts)
        rows = file.rows()
        self.page = write_heatmaps(folder, rows, f"{stage} heatmaps", step)
        write_heatmap_file(folder / "heatmaps.json", file)
        shown = rows if texts_are_logged(trainer) else self._without_texts(texts, rows)
        to_each(trainer.loggers, log_heatmaps, f"{stage}/heatmaps", shown, step)

    def announce(self) -> None:
        """Print the path of the page."""
        if self.page is not None:
            print(f"Heatmaps: {self.page}")

    def _without_texts(
        self, texts: Sequence[ExplainedText], rows: Sequence[HeatmapRow]
    ) -> list[HeatmapRow]:
        anonymous = []
        for text, row in zip(texts, rows, strict=True):
            count = len(text.words)
            units = self.unit if count == 1 else f"{self.unit}s"
            anonymous.append(row.without_text(f"example {text.index}, {count} {units}"))
        return anonymous

    def _texts(self, examples: Sequence[Reading], trace: Trace) -> Iterator[ExplainedText]:
        """Yield the texts of a chunk with unit scores, for every class if there are few."""
        classes = trace.logits.shape[1]
        scores = {}
        for name, method in self._methods.items():
            every = classes <= MOST_CLASSES
            rows = method.every_class(trace) if every else method(trace)[:, None]
            scores[name] = rows.cpu()
        for i, example in enumerate(examples):
            units, target = trace.inputs.units[i].cpu(), int(trace.target[i])
            spans = example.spans
            heatmap = Heatmap.from_offsets(example.text, spans, [0.0] * len(spans), True)
            merged = {
                name: merge_by_unit(rows[i], units.expand(rows.shape[1], -1))[:, : len(spans)]
                for name, rows in scores.items()
            }
            yield ExplainedText(
                index=example.index,
                text=example.text,
                gold=example.label if 0 <= example.label < classes else None,
                explained=target,
                probabilities=trace.probabilities[i].tolist(),
                words=heatmap.words,
                gaps=heatmap.gaps,
                marked=_in_rationale(example),
                scores={name: _by_class(rows, target, classes) for name, rows in merged.items()},
                disagreement=self._disagreement(merged, target),
            )

    def _disagreement(self, merged: dict[str, Tensor], target: int) -> float:
        """Return 1 - the mean rank correlation of pairs of methods, without random controls."""
        names = [name for name, method in self._methods.items() if not isinstance(method, Random)]
        if len(names) < 2:
            return nan
        rows = [merged[name][target if len(merged[name]) > 1 else 0] for name in names]
        scores = torch.stack(rows)[:, None]
        mask = torch.ones(scores.shape[1:], dtype=torch.bool)
        signs = torch.tensor([self._methods[name].signed for name in names])
        raw, absolute = (agreement(s, mask, spearman)[0] for s in (scores, scores.abs()))
        pairs = torch.where(signs[:, None] & signs, raw, absolute)
        above = torch.ones_like(pairs).triu(1).bool()
        return 1 - float(pairs[above].nanmean())


def _by_class(scores: Tensor, target: int, classes: int) -> list[list[float] | None]:
    """Return the scores for each class; None for classes that are not explained."""
    if len(scores) == classes:
        return [list(row) for row in scores.tolist()]
    return [scores[0].tolist() if number == target else None for number in range(classes)]


def _in_rationale(example: Reading) -> list[bool] | None:
    """Return whether each unit belongs to the rationale."""
    if example.rationale is None:
        return None
    marked = {unit for unit, is_in in zip(example.units, example.rationale, strict=True) if is_in}
    return [unit in marked for unit in range(len(example.spans))]
