"""The subcommand ``study reproduce``: all experiments of the paper, from data to report."""
