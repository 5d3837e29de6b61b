"""bertx: fine-tune BERT-like text classifiers and see why they decide, while they train."""

from importlib.metadata import version

__version__ = version("bertx")
