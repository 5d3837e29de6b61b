"""One recorded forward of a model as it is, and every backward that follows from it."""

from bertx.trace.needs import EXPLICIT, GRAPH, SWITCHED, Needs
from bertx.trace.trace import Trace, now, plain_seconds

__all__ = ["EXPLICIT", "GRAPH", "SWITCHED", "Needs", "Trace", "now", "plain_seconds"]
