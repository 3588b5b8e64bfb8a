"""The version of this program: looking it up in its metadata takes longer than opening a file does."""

VERSION = "0.1.0"
