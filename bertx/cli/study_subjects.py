"""Subjects of a study from the command line: trained models with their labelled texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution.choices import check_each, supported
from bertx.cli.labelled_texts import class_order, data_module, data_settings
from bertx.cli.model_loading import load_trained
from bertx.cli.runs import Run, find_runs
from bertx.data import TextDataModule, TextDataset
from bertx.errors import InputError
from bertx.evaluation import Text
from bertx.models.classifier import class_names, require_classifier
from bertx.progress import progress
from bertx.studies import Settings, Source, Subject, read_subject

_DATA_SETTINGS = (
    "dataset", "path", "labels", "text_column", "label_column", "validation_fraction", "seed",
    "shortcut",
)  # fmt: skip


def find_subjects(
    options: Namespace, settings: Settings, named: bool
) -> tuple[list[Subject], Settings]:
    """Read the texts of each run with its model, which is released again.

    Args:
        options: ``runs``, ``device``, ``split`` and the options that choose data.
        settings: How texts are chosen and read, and the methods.
        named: Whether the user named the methods. Then each must support every model; else the
            methods that support every model are used.

    Returns:
        The subjects, and the settings with the methods that are used.

    Raises:
        InputError: If a run, its model or its data cannot be used.
        UnsupportedArchitecture: If a method that the user named is not defined for a model.
    """
    runs = _named_by_data(find_runs(options.runs), options)
    subjects, methods = [], dict(settings.methods)
    with progress("Reading the runs", len(runs)) as advance:
        for run in runs:
            load = partial(load_trained, run.model, options.device, f"run {run.argument}")
            model, tokenizer = load()
            classifier = require_classifier(model)
            if not named:
                methods = supported(methods, classifier) or methods
            check_each(methods, classifier)
            subjects.append(_subject(run, options, settings, (classifier, tokenizer), load))
            advance(1)
    return subjects, replace(settings, methods=methods)


def shuffled_subjects(options: Namespace, settings: Settings) -> dict[str, Subject]:
    """Return the subjects of ``--shuffled`` by name.

    Raises:
        InputError: If one of the runs was trained on the true labels, or cannot be used.
    """
    for run in find_runs(options.shuffled):
        if run.data and not run.data.get("shuffle_labels"):
            raise InputError(
                f"--shuffled {run.argument}: expected a run on shuffled labels, but its "
                "configuration has no data.shuffle_labels: true. Train one with bertx fit "
                "--data.shuffle_labels true."
            )
    shuffled = Namespace(**{**vars(options), "runs": options.shuffled})
    subjects, _ = find_subjects(shuffled, settings, named=True)
    return {subject.name: subject for subject in subjects}


def _named_by_data(runs: Sequence[Run], options: Namespace) -> list[Run]:
    """Name runs after their data sets if these all differ, except where the user chose a name."""
    names = [_data_name(_run_settings(run, options)) for run in runs]
    if len(runs) > 1 and len(set(names)) == len(names) and all(names):
        return [
            run if run.named else replace(run, name=name)
            for run, name in zip(runs, names, strict=True)
        ]
    return list(runs)


def _subject(
    run: Run,
    options: Namespace,
    settings: Settings,
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    load: Any,
) -> Subject:
    data = _run_settings(run, options)
    if not data.get("dataset") and not data.get("path"):
        raise InputError(
            f"run {run.argument}: expected texts, but it does not say what it was trained on. "
            "Name the data with --dataset or --path."
        )
    try:
        texts = _texts(data_module(data, *loaded), options.split, loaded[0])
    except InputError as error:
        raise InputError(f"run {run.argument}: {error}") from error
    source = Source(
        run.name,
        run.model,
        _data_name(data),
        options.split,
        load,
        run.data.get("max_length"),
        run.config,
    )
    return read_subject(source, loaded, texts, settings)


def _run_settings(run: Run, options: Namespace) -> dict[str, Any]:
    """Return the data settings of a run, overridden by the command line."""
    overrides = data_settings(options)
    if "dataset" in overrides:  # the run's paths and columns belong to its own data set
        return overrides
    names = (name for name in _DATA_SETTINGS if run.data.get(name) is not None)
    return {name: run.data[name] for name in names} | overrides


def _data_name(settings: Mapping[str, Any]) -> str:
    return str(settings.get("dataset") or Path(str(settings.get("path", ""))).name)


def _texts(data: TextDataModule, split: str, model: PreTrainedModel) -> list[Text]:
    """Return the labelled texts of a split, with labels in the model's numbering."""
    source = f"{data.source.path or 'the data'}"
    available = [name for name in ("validation", "test") if data.reader.has(name)]
    if data.reader.has("train") and "validation" not in available:
        available.append("validation")  # held out from the training texts
    if split not in available and not data.reader.has(split):
        advice = f"Use --split {available[0]}" if available else "Name other data with --path"
        raise InputError(f"{source}: expected a {split} split, but there is none. {advice}.")
    with progress("Preparing the texts"):
        usable: TextDataset = data.usable(split)
    rows = usable.labelled()
    if not rows:
        raise InputError(
            f"{source}: expected labels in the {split} split, but no text has a valid one. Use "
            "another --split, or name the column with --label_column."
        )
    order = class_order(data.labels, class_names(model))
    labelled = usable.select(rows)
    pairs = zip(labelled.texts, labelled.labels, strict=True)
    return [Text(text, order[label]) for text, label in pairs]
