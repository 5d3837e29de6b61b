"""A display of progress that remembers what it was told."""

from contextlib import contextmanager

from bertx.progress import Display


class Remembered(Display):
    """Attributes: tasks: For each its name, its total, and how many items were done at the end."""

    def __init__(self):
        self.tasks = []

    @contextmanager
    def task(self, what, total):
        done = []
        yield done.append
        self.tasks.append((what, total, sum(done)))
