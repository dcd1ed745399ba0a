"""Tables and figures of a study. They show values and compute none."""
