"""The configuration: typed sections, read once at the edge, refused early."""
