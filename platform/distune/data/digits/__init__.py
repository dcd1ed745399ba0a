"""Generated images of handwritten digits on photographs."""
