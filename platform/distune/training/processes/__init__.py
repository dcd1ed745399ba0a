"""A trial in several processes, one for each of its GPUs."""
