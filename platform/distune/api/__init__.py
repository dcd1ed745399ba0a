"""The Python API: launch, load and resume studies, and read their results. The command line is a thin layer over it."""
