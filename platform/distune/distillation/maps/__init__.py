"""Feature maps: alignment of student and teacher maps, boxes as cells and masks, pooling."""
