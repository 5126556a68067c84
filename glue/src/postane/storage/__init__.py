"""The database of the directory: its schema, its migrations, and the one doorway to it."""
