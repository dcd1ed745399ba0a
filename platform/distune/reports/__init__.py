"""Tables (values) and plots (figures) of a study, apart."""
