"""Metrics on two ranks, without two processes."""


def synced(mine, other):
    """What a metric computes on a rank whose states are reduced with those of another one."""
    states = iter([getattr(other, name) for name in other._reductions])
    mine.distributed_available_fn = lambda: True
    mine.dist_sync_fn = lambda value, group: [value, next(states)]
    return mine.compute()
