"""Clips that are one recording, which folds by subject cannot keep apart."""

from pipeline.duplicates.finding import Duplicates, Pair, find_duplicates

__all__ = ["Duplicates", "Pair", "find_duplicates"]
