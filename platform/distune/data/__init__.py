"""Data sets of images with boxes: Pascal VOC, COCO and generated shapes; splits, transforms and batches."""
