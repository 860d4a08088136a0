"""The stages, and what only they need."""

import os

# Threads of a network that wait for each other by spinning waste their cores whenever another process has one
# of them, such as a decode worker. This is read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
