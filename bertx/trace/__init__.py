"""One recorded forward of an unmodified model, and any number of backwards through it."""

from bertx.trace.needs import EXPLICIT, GRAPH, SWITCHED, MissingNeed, Needs
from bertx.trace.trace import Trace, now, plain_seconds

__all__ = ["EXPLICIT", "GRAPH", "SWITCHED", "MissingNeed", "Needs", "Trace", "now", "plain_seconds"]
