"""The command line. Everything that a person reads on a terminal is said here and nowhere below."""
