"""Leaderboards: how methods rank by a metric, and which of them can be told apart."""
