"""Faces in videos: found, followed, and cut out."""
