"""HeatmapLogger: the words of a few sentences, coloured by what each method makes of them."""

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.clock import here
from bertx.callbacks.folder import run_folder
from bertx.callbacks.privacy import texts_are_logged
from bertx.callbacks.probe import Explained, Probe
from bertx.callbacks.ranks import gather
from bertx.classifier import Choice, class_names
from bertx.heads import Logits
from bertx.inputs import Unit, merge_by_unit
from bertx.report import Heatmap, HeatmapRow, write_heatmaps
from bertx.report.loggers import log_heatmaps, to_each


class HeatmapLogger(Probe):
    """Logs a table of heatmaps at the end of every validation and test epoch.

    One row an example: epoch, step, text, gold and predicted class, probability of the predicted
    class, and one heatmap per method, with the scores of word pieces added up to words. It goes to
    every logger under ``val/heatmaps`` or ``test/heatmaps`` and, as one page, to
    ``<run>/bertx/<stage>/heatmaps.html``.

    Args:
        methods: Attribution methods by the name of their column; null for AttnLRP, the paper's
            four, as far as the model supports them, and a random control.
        every_n_epochs: Explain after every n-th training epoch. Validation and test runs of their
            own are always explained.
        max_examples: How many examples, the same ones in every epoch.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        unit: What is coloured: ``word``, ``whitespace`` or ``token``.
        tokenizer: A tokenizer or the name of its model, where neither the module nor the data
            module has one.
        name: Part of all keys and folders after the stage, ``val/<name>/...``, where the trainer
            has several of these callbacks.
        model: Which classifier, where the module holds several: the path of an attribute, such as
            ``student``, or a function from the module to it.
        logits: For an encoder with a head of your own: the name of a method of the module, or a
            function, from a mapping of ``input_ids``, ``attention_mask``, ... to the logits (B, C);
            see `bertx.heads.EncoderForSequenceClassification`.
        log_text: Whether texts may go to the loggers. If false, for all callbacks of the trainer,
            they get the number of each text and of its words in place of these, with classes,
            lengths and scores; the page and the files of the run are as ever.
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
        model: Choice | None = None,
        logits: Logits | None = None,
        log_text: bool = True,
    ) -> None:
        super().__init__(
            methods, every_n_epochs, max_examples, target, unit, tokenizer, name, model, logits
        )
        self.log_text = log_text
        self.page: Path | None = None

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Explained]
    ) -> None:
        """Draw this rank's examples, bring all together, and send them off from rank zero."""
        epoch, step = here(trainer)
        mine: list[tuple[int, HeatmapRow]] = []
        for chunk in chunks:
            mine += self._rows(chunk, epoch, step)
            del chunk  # and the graph, before the next one is made
        numbered = sorted(gather(mine), key=lambda pair: pair[0])
        rows = [row for _, row in numbered]
        folder = run_folder(trainer) / "bertx" / stage
        if not rows or not trainer.is_global_zero:
            return
        self.page = write_heatmaps(folder, rows, f"{stage} heatmaps", step)
        shown = rows if texts_are_logged(trainer) else self._without_texts(numbered)
        to_each(trainer.loggers, log_heatmaps, f"{stage}/heatmaps", shown, step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the page is."""
        self._say()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the page of a validation run of its own is."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._say()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the page is."""
        self._say()

    @rank_zero_only
    def _say(self) -> None:
        if self.page is not None:
            print(f"Heatmaps: {self.page}")

    def _without_texts(self, numbered: list[tuple[int, HeatmapRow]]) -> list[HeatmapRow]:
        return [
            row.without_text(f"example {index}, {count} {self.unit}{'' if count == 1 else 's'}")
            for index, row in numbered
            for count in [max((len(one.words) for one in row.heatmaps.values()), default=0)]
        ]

    def _rows(self, chunk: Explained, epoch: int, step: int) -> Iterator[tuple[int, HeatmapRow]]:
        names = class_names(self._model)
        best = chunk.probabilities.max(-1)
        for i, example in enumerate(chunk.examples):
            row = HeatmapRow(
                epoch=epoch,
                step=step,
                text=example.text,
                gold=names[example.label] if 0 <= example.label < len(names) else "",
                predicted=names[int(best.indices[i])],
                probability=float(best.values[i]),
                heatmaps=self._heatmaps(chunk, i),
            )
            yield example.index, row

    def _heatmaps(self, chunk: Explained, i: int) -> dict[str, Heatmap]:
        example, units = chunk.examples[i], chunk.inputs.units[i].cpu()
        spans = _spans(units, chunk.batch["offsets"][i])
        rationale = chunk.batch.get("rationale")
        marked = None if rationale is None else _marked(units, rationale[i], len(spans))
        return {
            name: Heatmap.from_offsets(
                example.text,
                spans,
                merge_by_unit(scores[i : i + 1].cpu(), units[None])[0, : len(spans)].tolist(),
                self._methods[name].signed,
                marked,
            )
            for name, scores in chunk.scores.items()
        }


def _spans(units: Tensor, offsets: Tensor) -> list[tuple[int, int]]:
    """Character span of every unit."""
    return [
        (int(own[:, 0].min()), int(own[:, 1].max()))
        for unit in range(int(units.max()) + 1)
        for own in [offsets[units == unit]]
    ]


def _marked(units: Tensor, rationale: Tensor, count: int) -> list[bool]:
    return [bool(rationale[units == unit].any()) for unit in range(count)]
