"""Data formats: a reader per annotation format."""
