"""Feature pass: teacher features of the training images, computed once and shared."""
