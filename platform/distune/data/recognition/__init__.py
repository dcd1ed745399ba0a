"""Finds out in which format the data in a folder are: a file for each format."""
