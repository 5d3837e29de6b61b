"""The subcommand study reproduce: all that the paper did, from the data to the report."""
