"""Rspamd's two doors: the question about a message, and what people teach it."""
