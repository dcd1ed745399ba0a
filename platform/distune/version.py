"""The version of distune."""

VERSION = "0.1.0"
