"""What a study is about, from the command line: trained models with labelled texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution.choices import check_each, supported
from bertx.cli.classifiers import load_trained
from bertx.cli.labelled import class_order, data_of, data_options
from bertx.cli.runs import GivenRun, find_runs
from bertx.data import TextDataModule, TextDataset
from bertx.errors import InputError
from bertx.evaluation import Text
from bertx.models.classifier import class_names, require_classifier
from bertx.progress import progress
from bertx.studies import Settings, Source, Subject, read_subject

_OF_A_RUN = (
    "dataset", "path", "labels", "text_column", "label_column", "validation_fraction", "seed",
    "shortcut",
)  # fmt: skip


def find_subjects(
    options: Namespace, settings: Settings, named: bool
) -> tuple[list[Subject], Settings]:
    """Load each model, read its texts, and let it go again.

    Args:
        options: ``runs``, ``device``, ``split`` and what names data.
        settings: How texts are chosen and read, and the methods.
        named: Whether the user has named the methods: then each has to suit each model, else
            those are used that suit all.

    Raises:
        InputError: If a run, its model or its data cannot be used.
        UnsupportedArchitecture: If a method that was named is not defined for a model.
    """
    runs = _called(find_runs(options.runs), options)
    subjects, methods = [], dict(settings.methods)
    with progress("Reading the runs", len(runs)) as advance:
        for run in runs:
            load = partial(load_trained, run.model, options.device, f"run {run.given}")
            model, tokenizer = load()
            classifier = require_classifier(model)
            if named:
                check_each(methods, classifier)
            else:
                methods = supported(methods, classifier) or methods
                check_each(methods, classifier)
            subjects.append(_subject(run, options, settings, (classifier, tokenizer), load))
            advance(1)
    return subjects, replace(settings, methods=methods)


def shuffled_subjects(options: Namespace, settings: Settings) -> dict[str, Subject]:
    """The runs of ``--shuffled``, by their names.

    Raises:
        InputError: If one of them was trained on the true labels, or cannot be used.
    """
    for run in find_runs(options.shuffled):
        if run.data and not run.data.get("shuffle_labels"):
            raise InputError(
                f"--shuffled {run.given}: expected a run on shuffled labels, but its configuration "
                "has no data.shuffle_labels: true. Train one with bertx fit --data.shuffle_labels "
                "true."
            )
    others = Namespace(**{**vars(options), "runs": options.shuffled})
    subjects, _ = find_subjects(others, settings, named=True)
    return {subject.name: subject for subject in subjects}


def _called(runs: Sequence[GivenRun], options: Namespace) -> list[GivenRun]:
    """Runs of different data sets are called by these."""
    data = [_data_name(_data_settings(run, options)) for run in runs]
    if len(runs) > 1 and len(set(data)) == len(data) and all(data):
        return [
            run if run.chosen else replace(run, name=name)
            for run, name in zip(runs, data, strict=True)
        ]
    return list(runs)


def _subject(
    run: GivenRun,
    options: Namespace,
    settings: Settings,
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    load: Any,
) -> Subject:
    named = _data_settings(run, options)
    if not named.get("dataset") and not named.get("path"):
        raise InputError(
            f"run {run.given}: expected texts, but it does not say which it was trained on. "
            "Name them with --dataset or --path."
        )
    try:
        texts = _texts(data_of(named, *loaded), options.split, loaded[0])
    except InputError as error:
        raise InputError(f"run {run.given}: {error}") from error
    longest = run.data.get("max_length")
    name = _data_name(named)
    source = Source(run.name, run.model, name, options.split, load, longest, run.config)
    return read_subject(source, loaded, texts, settings)


def _data_settings(run: GivenRun, options: Namespace) -> dict[str, Any]:
    """The data of a run, and before them what the command line says."""
    given = data_options(options)
    if "dataset" in given:  # other data: where the run's own were has no meaning for them
        return given
    return {name: run.data[name] for name in _OF_A_RUN if run.data.get(name) is not None} | given


def _data_name(named: Mapping[str, Any]) -> str:
    return str(named.get("dataset") or Path(str(named.get("path", ""))).name)


def _texts(data: TextDataModule, split: str, model: PreTrainedModel) -> list[Text]:
    """The labelled texts of a split, with the model's numbers of their classes."""
    where = f"{data.source.path or 'the data'}"
    held_out = split == "validation" and data.reader.has("train")
    if not data.reader.has(split) and not held_out:
        others = [name for name in ("validation", "test") if data.reader.has(name)]
        others += ["validation"] * (data.reader.has("train") and "validation" not in others)
        way_out = f"Use --split {others[0]}" if others else "Name other data with --path"
        raise InputError(f"{where}: expected a {split} split, but there is none. {way_out}.")
    with progress("Preparing the texts"):
        usable: TextDataset = data.usable(split)
    rows = usable.labelled()
    if not rows:
        raise InputError(
            f"{where}: expected labels in the {split} split, but no text has one that is known. "
            f"Use another --split, or name the column with --label_column."
        )
    order = class_order(data.labels, class_names(model))
    chosen = usable.select(rows)
    return [
        Text(text, order[label]) for text, label in zip(chosen.texts, chosen.labels, strict=True)
    ]
