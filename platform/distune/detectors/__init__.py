"""The detector zoo: torchvision detectors with taps."""
