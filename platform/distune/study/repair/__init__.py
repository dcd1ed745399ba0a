"""Repair: rebuilds the records of a study from what its folder holds."""
