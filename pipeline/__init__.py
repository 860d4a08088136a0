"""The stages, and what only they need: experiment file, feature store, posterior tables, report."""
