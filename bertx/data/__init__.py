"""Labelled texts: from the hub, from local files, or the packaged demonstration."""

from bertx.data.collate import Collator
from bertx.data.dataset import TextDataset
from bertx.data.loading import LengthBucketSampler
from bertx.data.masking import Masking
from bertx.data.module import TextDataModule
from bertx.data.shortcut import Shortcut
from bertx.data.sources import DATASETS, Source

__all__ = [
    "DATASETS",
    "Collator",
    "LengthBucketSampler",
    "Masking",
    "Shortcut",
    "Source",
    "TextDataModule",
    "TextDataset",
]
