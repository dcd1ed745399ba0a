"""What all kinds of generated data share."""
