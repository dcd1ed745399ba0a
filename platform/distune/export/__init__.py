"""Students as files that other programs load."""
