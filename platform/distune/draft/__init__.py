"""Drafts the experiment file of a data set: settings that follow from measurements, each with its reason."""
