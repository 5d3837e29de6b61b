"""Runs and studies as one page, and what they log."""
