"""ShortcutAlarm: warns where a class hangs on one word, as it does when the data has a leak."""

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import AttnLRP, Attribution, GradientSensitivity
from bertx.attribution.choices import GOLD, PREDICTED, supported
from bertx.callbacks.base import Chunk, Probe, log
from bertx.callbacks.run import texts_are_logged
from bertx.callbacks.wordshares import Ledger, WordShare, evidence
from bertx.errors import InputError
from bertx.models.classifier import ModelChoice, class_names
from bertx.models.encode import Reading
from bertx.models.heads import Logits
from bertx.models.inputs import Unit
from bertx.models.words import normal
from bertx.rendering.files import Cell
from bertx.trace import Trace

_LISTED = 10
"""How many words of each class the table names."""


class ShortcutAlarm(Probe):
    """Warns when one word carries more of a class than words do where the data is sound.

    At the end of every validation and test epoch a sample is explained. The share of a word in a
    class is the mean, over the texts that are explained for the class, of its part in what speaks
    for the class: 1 if it is all there is in every one of them. It counts as far as the word is
    more frequent in these texts than in those of the other classes (`WordShare.excess`): a full
    stop or an article gives no class away, a word that a leak has put into one class does. Where
    the rest is above ``bound``, a warning names the word, the class, its share and an example,
    once; what was found last is printed at the end.

    For each class the largest such share is logged as ``val/shortcut_share/<class>``. Where too few
    texts are explained there is no value; a warning names these classes, each once. A callback
    that monitors a class needs a value from the first epoch on: with ``predicted``, a model that
    has learnt little may leave a class without texts. The ten words that stand out most go to
    ``<run>/bertx/<stage>/shortcuts.csv``. Accuracy shows nothing of this: with the same leak in the
    validation data, it rises.

    Args:
        method: Attribution method; null for AttnLRP, or gradient sensitivity where the model does
            not support it. If its scores have a sign, what speaks against the class is left out.
        bound: Share above which a word raises the alarm, below 1. The largest share of AttnLRP with
            the packaged encoder: .06 on the demonstration, .03 on SST-2; with a word planted into
            30 % of the texts of a class .2, into all of them .99.
        min_texts: How many texts must be explained for a class, and for all others together, before
            anything is said of it: among few texts some word stands out by chance.
        target: The explained class: ``predicted`` or ``gold``.
        unit: What has a share: ``word``, ``whitespace`` or ``token``.
        log_text: Whether warnings may name words and quote texts: what is printed goes to some
            loggers. False holds for all callbacks of the trainer; the table has the words.

    Attributes:
        alarms: The words above the bound, as of the last epoch that was explained.

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
        if min_texts < 1:
            raise InputError(f"min_texts must be at least 1, got {min_texts}")
        if target not in (PREDICTED, GOLD):
            raise InputError(
                f"target {target!r}: expected {PREDICTED!r} or {GOLD!r}. A word gives a class away "
                "if it speaks for that class and for no other, so that all have to be explained."
            )
        self.method = method
        self.bound = bound
        self.min_texts = min_texts
        self.log_text = log_text
        self.alarms: list[WordShare] = []
        self._path: Path | None = None
        self._named = True
        self._warned: set[tuple[str, str]] = set()
        self._unjudged: set[str] = set()

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Add up the words of all texts, log the largest shares and warn of those too large."""
        ledger = self._read(stage, chunks).gathered()
        self.alarms, listed, few = [], [], []
        for number, name in enumerate(class_names(self._model)):
            words = ledger.shares(number, name)
            listed += words[:_LISTED]
            if min(ledger.counts(number)) < self.min_texts:
                few.append(name)
                continue
            self.alarms += [word for word in words if word.excess > self.bound]
            largest = max((word.excess for word in words), default=0.0)
            self._log(pl_module, stage, {f"shortcut_share/{name}": largest})
        self._named = texts_are_logged(trainer)
        self._warn(stage)
        self._warn_of_few(stage, few)
        self._path = self._append(trainer, stage, "shortcuts.csv", map(_row, listed))

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.methods = {"shortcut": self.method or _default(self._find(pl_module))}
        super()._prepare(trainer, pl_module)

    def _groups(self) -> tuple[str, ...]:
        return ("shortcut_share",)

    def _read(self, stage: str, chunks: Iterator[Chunk]) -> Ledger:
        """The words of this rank's texts."""
        ledger, left = Ledger(), list[int]()
        for examples, trace in chunks:
            left += self._add(ledger, examples, trace)
            del trace  # and the graph, before the next one is made
        if left:
            log.warning(
                f"{stage}: scores of {len(left)} texts, such as example {left[0]}, are not finite; "
                "they are left out of the shares of words"
            )
        return ledger

    def _add(self, ledger: Ledger, examples: Sequence[Reading], trace: Trace) -> Iterator[int]:
        """Add the texts of a chunk; the numbers of those whose scores are not finite."""
        (method,) = self._methods.values()
        counts, targets = trace.inputs.unit_counts.tolist(), trace.target.tolist()
        shares = evidence(method(trace), trace.inputs.units, method.signed)
        for i, (example, count) in enumerate(zip(examples, counts, strict=True)):
            row = shares[i, :count].tolist()
            if not all(map(isfinite, row)):
                yield example.index
            elif count:
                words = [normal(example.text[start:end]) for start, end in example.spans]
                ledger.add(targets[i], example.index, example.text, words, row)

    @rank_zero_only
    def _warn(self, stage: str) -> None:
        for alarm in self.alarms:
            if (alarm.label, alarm.word) not in self._warned:
                self._warned.add((alarm.label, alarm.word))
                log.warning(f"{stage}: a shortcut? {alarm.described(self._named)}")

    @rank_zero_only
    def _warn_of_few(self, stage: str, classes: list[str]) -> None:
        """Say once of each class that too few texts are explained to judge it."""
        new = [name for name in classes if name not in self._unjudged]
        self._unjudged.update(new)
        if new:
            much = self.max_examples
            more = f"raise max_examples, now {much}," if much else "validate on more texts"
            log.warning(
                f"{stage}: nothing is said of {', '.join(map(repr, new))} and no shortcut_share "
                f"is logged: fewer than min_texts, {self.min_texts}, are explained for the class "
                f"or for all others together. To judge it, {more} or lower min_texts."
            )

    def announce(self) -> None:
        """Say what was found last, and where the table is."""
        if self._path is not None:
            for alarm in self.alarms:
                print(f"A shortcut? {alarm.described(self._named)}")
            print(f"Words of each class: {self._path} ({len(self.alarms)} above {self.bound:.0%})")


def _row(word: WordShare) -> dict[str, Cell]:
    return {
        "class": word.label, "word": word.word, "share": word.share, "excess": word.excess,
        "texts": word.texts, "of": word.of, "elsewhere": word.elsewhere, "others": word.others,
        "example": word.example,
    }  # fmt: skip


def _default(model: PreTrainedModel) -> Attribution:
    best: dict[str, Attribution] = {"attnlrp": AttnLRP()}
    return supported(best, model).get("attnlrp", GradientSensitivity())
