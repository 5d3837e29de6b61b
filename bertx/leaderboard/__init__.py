"""How methods compare on a metric, and which of them can be told apart."""
