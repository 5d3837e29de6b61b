"""Killing a study while it writes."""

import os
import signal

import torch

from bertx.studies import store


def killed_after(parts, act):
    """Run ``act`` in a forked process, killed after ``parts`` complete parts and half another.

    The process uses one thread, because OpenMP's threads do not survive a fork.
    """
    if not (child := os.fork()):
        try:
            torch.set_num_threads(1)
            store.write_table = _dying(store.write_table, parts)
            act()
        finally:
            os._exit(1)  # never a second pytest
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _dying(write, parts):
    written = []

    def write_or_die(path, table):
        if len(written) == parts:
            path.with_name(f".{path.name}.{os.getpid()}").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, table)
        written.append(path)

    return write_or_die
