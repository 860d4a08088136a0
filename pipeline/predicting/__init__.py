"""Posteriors of clips from outside the experiment, by its own extractors, heads and fuser."""
