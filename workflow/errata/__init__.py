"""Errata teaches a language model from the questions it first got wrong, then makes it fit a memory limit."""

__version__ = "0.1.0"
