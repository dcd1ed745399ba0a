"""Search: records of the trials, and the choice of the next configuration."""
