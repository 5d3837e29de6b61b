"""Folders of runs of tiny models as ``bertx fit`` writes them, without training."""

import json
from pathlib import Path

import torch
import yaml

from tests.studies.subjects import texts
from tests.tiny import tiny_model, tiny_tokenizer

CLASSES = ["negative", "neutral", "positive"]
LEXICON = {"awful": -2.0, "bad": -2.5, "dull": -1.7, "good": 1.9, "great": 3.1, "superb": 3.1}


def save_texts(folder, count=36, seed=0, splits=("test",), classes=CLASSES, labelled=True):
    """Write a data set."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split in splits:
        rows = [
            {"text": text.text, **({"label": classes[text.label]} if labelled else {})}
            for text in texts(count, seed, len(classes))
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        Path(folder, f"{split}.jsonl").write_text(lines)
    return Path(folder)


def save_run(folder, data, seed=0, dtype=torch.float64, classes=CLASSES, tokenizer=None, **more):
    """Write a run with an exported model and without a checkpoint."""
    folder = Path(folder)
    model = tiny_model("bert", len(classes), dtype, seed)
    model.config.id2label = dict(enumerate(classes))
    model.config.label2id = {name: number for number, name in enumerate(classes)}
    model.save_pretrained(folder / "hf")
    (tokenizer or tiny_tokenizer()).save_pretrained(folder / "hf")
    config = {"model": {"name": "x"}, "data": {"path": str(data), "max_length": 32, **more}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return str(folder)


def save_lexicon(path, words=LEXICON):
    """Write a lexicon in VADER's format."""
    lines = [f"{word}\t{valence}\t0.5\t[1, 2]\n" for word, valence in words.items()]
    Path(path).write_text("".join(lines))
    return str(path)
