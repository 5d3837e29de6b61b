"""Slow, independent transcriptions of the definitions, in float64, one sentence at a time."""
