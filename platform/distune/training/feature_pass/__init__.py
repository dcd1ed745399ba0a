"""Feature passes over training images: image order, teacher features and their cache."""
