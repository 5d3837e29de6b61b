"""ShortcutAlarm: warns if a class depends on a single word, as when labels leak into texts."""

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from transformers import PreTrainedTokenizerBase

from bertx.attribution import AttnLRP, Attribution, GradientSensitivity
from bertx.attribution.choices import GOLD, PREDICTED, supported
from bertx.callbacks.epoch_explainer import Chunk, EpochExplainer, log
from bertx.callbacks.trainer import texts_are_logged
from bertx.callbacks.word_shares import WordShare, WordShareSums, evidence
from bertx.errors import InputError, check_positive
from bertx.models.classifier import ModelChoice, class_names
from bertx.models.encode import Reading
from bertx.models.heads import Logits
from bertx.models.inputs import Unit
from bertx.models.words import normal
from bertx.rendering.files import Cell
from bertx.trace import Trace

_LISTED = 10
"""Number of words per class in the table."""


class ShortcutAlarm(EpochExplainer):
    """Warns if one word carries more of the evidence for a class than is usual in sound data.

    At the end of every validation and test epoch a sample is explained. A word's share in a class
    is its share of the evidence for the class, averaged over the texts that are explained for the
    class: 1 if it is all the evidence in every text. The share is weighted by how much more
    frequent the word is in these texts than in the texts of other classes (`WordShare.excess`): a
    full stop or an article gives no class away, a word that leaked into one class does. If the
    weighted share is above ``bound``, a warning names the word, the class, its share and an
    example, once. The last alarms are printed at the end.

    For each class the largest weighted share is logged as ``val/shortcut_share/<class>``. If too
    few texts are explained for a class there is no value, and a warning names the class once. A
    callback that monitors a class needs a value from the first epoch on: with ``predicted``, an
    undertrained model may leave a class without texts. The ten words of each class with the
    largest weighted shares go to ``<run>/bertx/<stage>/shortcuts.csv``. Accuracy does not show a
    leak: if the validation data has it too, accuracy rises.

    Args:
        method: Attribution method; null for AttnLRP, or gradient sensitivity if the model does not
            support AttnLRP. Negative scores of signed methods are ignored.
        bound: Weighted share above which a word raises the alarm, below 1. The largest value of
            AttnLRP with the packaged encoder is .06 on the demonstration and .03 on SST-2; with a
            word planted into 30 % of the texts of a class it is .2, into all of them .99.
        min_texts: Number of texts that must be explained for a class, and for all others together,
            to judge the class: among few texts some word stands out by chance.
        target: The explained class: ``predicted`` or ``gold``.
        unit: What has a share: ``word``, ``whitespace`` or ``token``.
        log_text: Whether warnings may name words and quote texts, as some loggers record what is
            printed. If false, no callback of the trainer sends texts to loggers; the table still
            has the words.

    Attributes:
        alarms: The words above the bound in the last explained epoch.

    Raises:
        InputError: If a setting is out of range; before training, if the module holds no classifier
            or the method does not support it.
    """

    def __init__(
        self,
        method: Attribution | None = None,
        bound: float = 0.15,
        min_texts: int = 30,
        every_n_epochs: int = 1,
        max_examples: int | None = 256,
        target: str = PREDICTED,
        unit: Unit = "word",
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        model: ModelChoice | None = None,
        logits: Logits | None = None,
        log_text: bool = True,
    ) -> None:
        super().__init__(
            None, every_n_epochs, max_examples, target, unit, tokenizer, name, model, logits
        )
        if not 0 <= bound < 1:
            raise InputError(f"bound: expected a share of at least 0 and below 1, got {bound}")
        check_positive(min_texts=min_texts)
        if target not in (PREDICTED, GOLD):
            raise InputError(
                f"target {target!r}: expected {PREDICTED!r} or {GOLD!r}. A word gives a class away "
                "if it is evidence for that class alone, so all classes must be explained."
            )
        self.method = method
        self.bound = bound
        self.min_texts = min_texts
        self.log_text = log_text
        self.alarms: list[WordShare] = []
        self._path: Path | None = None
        self._unjudged = ""
        self._show_text = True
        self._warned: set[tuple[str, str]] = set()
        self._warned_few: set[str] = set()

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Sum the shares of words, log the largest one of each class, and warn."""
        sums = self._sums(stage, chunks).gathered()
        self.alarms, listed, few = [], [], []
        classes = class_names(self._model)
        for number, name in enumerate(classes):
            words = sums.shares(number, name)
            listed += words[:_LISTED]
            if min(sums.counts(number)) < self.min_texts:
                few.append(name)
                continue
            self.alarms += [word for word in words if word.excess > self.bound]
            largest = max((word.excess for word in words), default=0.0)
            self._log(pl_module, stage, {f"shortcut_share/{name}": largest})
        self._show_text = texts_are_logged(trainer)
        self._unjudged = (
            f"; {len(few)} of {len(classes)} classes not judged: too few texts" if few else ""
        )
        self._warn(stage, few)
        self._path = self._append(trainer, stage, "shortcuts.csv", map(_row, listed))

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        method = self.method
        if method is None:
            attnlrp, model = AttnLRP(), self._find_classifier(pl_module)
            method = attnlrp if supported({"": attnlrp}, model) else GradientSensitivity()
        self.methods = {"shortcut": method}
        super()._prepare(trainer, pl_module)

    def _logged_groups(self) -> tuple[str, ...]:
        return ("shortcut_share",)

    def _sums(self, stage: str, chunks: Iterator[Chunk]) -> WordShareSums:
        """Return the sums over this rank's texts; warn of scores that are not finite."""
        sums, skipped = WordShareSums(), list[int]()
        for examples, trace in chunks:
            skipped += self._add(sums, examples, trace)
            del trace  # frees the graph before the next one is built
        if skipped:
            log.warning(
                f"{stage}: scores of {len(skipped)} texts, such as example {skipped[0]}, are not "
                "finite; these texts are not part of the shares of words"
            )
        return sums

    def _add(self, sums: WordShareSums, examples: Sequence[Reading], trace: Trace) -> Iterator[int]:
        """Add the texts of a chunk; yield the indices of texts whose scores are not finite."""
        (method,) = self._methods.values()
        counts, targets = trace.inputs.unit_counts.tolist(), trace.target.tolist()
        shares = evidence(method(trace), trace.inputs.units, method.signed)
        for i, (example, count) in enumerate(zip(examples, counts, strict=True)):
            row = shares[i, :count].tolist()
            if not all(map(isfinite, row)):
                yield example.index
            elif count:
                words = [normal(example.text[start:end]) for start, end in example.spans]
                sums.add(targets[i], example.index, example.text, words, row)

    @rank_zero_only
    def _warn(self, stage: str, few: list[str]) -> None:
        """Warn once of each alarm, and once of each class with too few texts."""
        for alarm in self.alarms:
            if (alarm.label, alarm.word) not in self._warned:
                self._warned.add((alarm.label, alarm.word))
                log.warning(f"{stage}: a shortcut? {alarm.describe(self._show_text)}")
        new = [name for name in few if name not in self._warned_few]
        self._warned_few.update(new)
        if new:
            if self._sample is not None and self._sample.can_grow(self._count):
                more = f"To judge it, raise max_examples (now {self.max_examples})"
            else:
                more = (
                    f"The data has too few of them, as all {self._count} texts are explained "
                    "already: validate on more texts"
                )
            log.warning(
                f"{stage}: too few texts to judge {', '.join(map(repr, new))}, so no "
                f"shortcut_share is logged: fewer than min_texts ({self.min_texts}) are explained "
                f"for the class or for all others together. {more} or lower min_texts."
            )

    def announce(self) -> None:
        """Print the alarms of the last epoch and the path of the table."""
        if self._path is not None:
            for alarm in self.alarms:
                print(f"A shortcut? {alarm.describe(self._show_text)}")
            count = f"{len(self.alarms)} above {self.bound:.0%}{self._unjudged}"
            print(f"Words of each class: {self._path} ({count})")


def _row(word: WordShare) -> dict[str, Cell]:
    return {
        "class": word.label, "word": word.word, "share": word.share, "excess": word.excess,
        "texts": word.texts, "of": word.of, "elsewhere": word.elsewhere, "others": word.others,
        "example": word.example,
    }  # fmt: skip
