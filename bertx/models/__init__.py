"""Classifiers and their tokenizers: parts, inputs, words, loading, and changes that are undone."""
