"""The command line: ``bertx fit --config sst2.yaml``."""

from bertx.cli.command import BertxCLI, main

__all__ = ["BertxCLI", "main"]
