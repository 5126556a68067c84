"""Postane: from the connection to the mailbox."""
