"""Statistics of a gain: average precision of resampled images, intervals over images and seeds. Numpy and scipy."""
