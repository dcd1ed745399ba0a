"""Search: which configuration is tried next, and which were tried."""
