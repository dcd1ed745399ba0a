"""Generated images of shapes."""
