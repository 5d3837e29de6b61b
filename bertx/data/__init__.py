"""Labelled texts: from the hub, from local files, or the packaged demonstration."""

from bertx.data.collate import Collator
from bertx.data.dataset import TextDataset
from bertx.data.datasets import DATASETS, Source
from bertx.data.module import TextDataModule
from bertx.data.sampling import LengthBucketSampler

__all__ = [
    "DATASETS",
    "Collator",
    "LengthBucketSampler",
    "Source",
    "TextDataModule",
    "TextDataset",
]
