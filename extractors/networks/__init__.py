"""Clip networks with the parameter names of PySlowFast, and what runs them."""
