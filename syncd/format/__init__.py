"""Bytes of the archive to and from the model; FORMAT.md beside this file is the specification."""
