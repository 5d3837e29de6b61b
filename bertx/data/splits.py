"""The splits of a data set: read, cleaned, and divided where validation texts are missing."""

from collections.abc import Callable
from dataclasses import replace

from bertx.data.checks import no_labels
from bertx.data.dataset import TextDataset, hold_out
from bertx.data.datasets import Reader
from bertx.data.form import Form
from bertx.data.reports import Tally, report_unlabelled
from bertx.data.stream import STRETCH, StreamedTexts, TextStream, survey
from bertx.data.table import Table
from bertx.errors import InputError


class Splits:
    """The texts of each split; each is read when first asked for, and what is wrong is reported.

    Args:
        reader: What reads the tables.
        form: How the tables of a split become texts, given its name, one of them, and whether a
            column of labels may be missing.
        held_out: Share of the training texts held out, by class, where the data set has no
            validation split.
        seed: Seed of the choice.
    """

    def __init__(
        self, reader: Reader, form: Callable[[str, Table, bool], Form], held_out: float, seed: int
    ) -> None:
        self.reader = reader
        self.form = form
        self.held_out = held_out
        self.seed = seed
        self._tables: dict[str, Table] = {}
        self._labelled: dict[str, TextDataset] = {}

    def table(self, split: str) -> Table:
        """The rows of ``split``, kept until its texts are asked for."""
        if split not in self._tables:
            self._tables[split] = self.reader.read(split)
        return self._tables[split]

    def training(self) -> TextDataset:
        """The training texts that are not held out."""
        whole = self.labelled("train")
        if self.reader.has("validation"):
            return whole
        return whole.select(hold_out(whole.labels, self.held_out, self.seed)[0])

    def validation(self) -> TextDataset:
        """The validation texts, or those held out.

        Raises:
            InputError: If none can be held out.
        """
        if self.reader.has("validation"):
            return self.labelled("validation")
        whole = self.labelled("train")
        held = hold_out(whole.labels, self.held_out, self.seed)[1]
        if not held:
            raise InputError(
                "train: expected two texts of a class, to hold one out for validation, but each "
                "class has one. Add texts, or a validation split."
            )
        return whole.select(held)

    def labelled(self, split: str) -> TextDataset:
        """The usable texts of ``split`` whose label is known.

        Raises:
            InputError: If there are none, or the split cannot be read.
        """
        if split not in self._labelled:
            table = self.table(split)
            data = self.usable(split, unlabelled=split != "train")
            rows = data.labelled()
            if not rows:
                raise no_labels(split, table.source, table.columns)
            report_unlabelled(split, len(data) - len(rows), len(data))
            self._labelled[split] = data.select(rows)
        return self._labelled[split]

    def streamed(self, max_length: int) -> StreamedTexts:
        """The texts of the ``predict`` split or, without one, of the test split.

        Those without a word are among them, as special tokens only, so that each row has a
        prediction.

        Args:
            max_length: Texts with more tokens are reported.
        """
        split = "predict" if self.reader.has("predict") else "test"
        form = self.form(split, next(self.reader.stream(split, STRETCH)), True)
        stream = TextStream(self.reader, split, replace(form, unknown=True), STRETCH)
        return StreamedTexts(stream, survey(stream, max_length))

    def usable(self, split: str, unlabelled: bool, unknown: bool = False) -> TextDataset:
        """The texts of ``split`` that the tokenizer can use, whether their label is known or not.

        Args:
            split: Its name.
            unlabelled: Whether a column of labels may be missing.
            unknown: Whether -1 marks an unknown label, unless it is a class; else the form says so.
        """
        form, tally = self.form(split, self.table(split), unlabelled), Tally()
        form = replace(form, unknown=form.unknown or unknown)
        stretch = form.use(self._tables.pop(split))
        tally.add(stretch)
        tally.report(split)
        return stretch.data
