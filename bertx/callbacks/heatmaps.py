"""HeatmapLogger: the words of a few sentences, coloured by what each method makes of them."""

from collections.abc import Iterator, Sequence
from math import nan
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution, Random
from bertx.callbacks.base import Chunk, Probe
from bertx.callbacks.run import gather, here, run_folder, texts_are_logged
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
"""Up to how many classes all of them are explained, beside the one that is asked for."""


class HeatmapLogger(Probe):
    """Logs a table of heatmaps at the end of every validation and test epoch.

    One row an example: epoch, step, text, gold and predicted class, probability of the predicted
    class, and one heatmap per method, with the scores of word pieces added up to words. It goes to
    every logger under ``val/heatmaps`` or ``test/heatmaps`` and, as one page, to
    ``<run>/bertx/<stage>/heatmaps.html``. The scores for every class, where these are up to eight,
    are kept beside it in ``heatmaps.json``, from which ``bertx report`` draws.

    Args:
        methods: Attribution methods by the name of their column; null for AttnLRP, the paper's
            four, as far as the model supports them, and a random control.
        max_examples: How many examples, the same ones in every epoch.
        unit: What is coloured: ``word``, ``whitespace`` or ``token``.
        log_text: Whether texts may go to the loggers. If false, for all callbacks of the trainer,
            they get the number of each text and of its words in place of these, with classes,
            lengths and scores; the page and the files of the run are unaffected.
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
        """Draw this rank's examples, bring all together, and send them off from rank zero."""
        epoch, step = here(trainer)
        explained: list[ExplainedText] = []
        for examples, trace in chunks:
            explained += self._texts(examples, trace)
            del trace  # and the graph, before the next one is made
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
        """Say where the page is."""
        if self.page is not None:
            print(f"Heatmaps: {self.page}")

    def _without_texts(
        self, texts: Sequence[ExplainedText], rows: Sequence[HeatmapRow]
    ) -> list[HeatmapRow]:
        counts = [len(text.words) for text in texts]
        lines = [
            f"example {text.index}, {count} {self.unit}{'' if count == 1 else 's'}"
            for text, count in zip(texts, counts, strict=True)
        ]
        return [row.without_text(words) for row, words in zip(rows, lines, strict=True)]

    def _texts(self, examples: Sequence[Reading], trace: Trace) -> Iterator[ExplainedText]:
        """The texts of a chunk with the scores of their words, for every class if these are few."""
        classes = trace.logits.shape[1]
        scores = {
            name: (
                method.every_class(trace) if classes <= MOST_CLASSES else method(trace)[:, None]
            ).cpu()
            for name, method in self._methods.items()
        }
        for i, example in enumerate(examples):
            units, target = trace.inputs.units[i].cpu(), int(trace.target[i])
            spans = example.spans
            cut = Heatmap.from_offsets(example.text, spans, [0.0] * len(spans), True)
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
                words=cut.words,
                gaps=cut.gaps,
                marked=_marked(example),
                scores={name: _by_class(rows, target, classes) for name, rows in merged.items()},
                disagreement=self._disagreement(merged, target),
            )

    def _disagreement(self, merged: dict[str, Tensor], target: int) -> float:
        """1 - the mean rank correlation of each two methods, the random control apart."""
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
    """The scores of each class; None where the explained one alone has any."""
    if len(scores) == classes:
        return [list(row) for row in scores.tolist()]
    return [scores[0].tolist() if number == target else None for number in range(classes)]


def _marked(example: Reading) -> list[bool] | None:
    """Whether each word decides the label."""
    if example.rationale is None:
        return None
    deciding = {u for u, marked in zip(example.units, example.rationale, strict=True) if marked}
    return [unit in deciding for unit in range(len(example.spans))]
