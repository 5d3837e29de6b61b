"""The subcommand study reproduce: all that the paper did, from the data to the report."""

from bertx.cli.reproducing.command import reproduce_command as reproduce_command
