"""syncd keeps the SQLite message store of a chat application safe."""

__version__ = "0.1.0"
