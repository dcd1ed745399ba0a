"""Planning: what a study costs, before it runs."""
