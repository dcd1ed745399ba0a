"""Readers of annotation formats, a file each."""
