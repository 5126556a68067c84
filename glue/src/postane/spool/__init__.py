"""The durable spool: between the 250 and the mailbox no message lives anywhere else.

Each worker writes a log of its own; one sync serves all sessions that wait for it. The queue reads all logs and keeps
a journal beside each segment of what became of its messages. `docs/reference/spool.md` describes the octets.
"""
