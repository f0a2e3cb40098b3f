"""The only place that knows SQLite's files."""
