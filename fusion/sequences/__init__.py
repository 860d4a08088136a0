"""Fusers of aligned sequences: heads that read the frames of several features of a clip at once."""
