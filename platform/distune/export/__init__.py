"""Students as files that run without distune."""
