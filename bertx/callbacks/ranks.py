"""Bringing together what the processes of a run hold."""

from typing import TypeVar

from torch import distributed

Row = TypeVar("Row")


def gather(rows: list[Row]) -> list[Row]:
    """The rows of all ranks, in their order; a collective call."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    everyone: list[list[Row]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(everyone, rows)
    return [row for part in everyone for row in part]
