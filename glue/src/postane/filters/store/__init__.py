"""The memory that filters of several workers, or of several hosts, share: core.ports.Store in SQLite and in Redis."""
