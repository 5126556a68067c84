"""The doors out. Each is a core.ports.Transport: a message and recipients in, an Outcome for each of them out.

router   which door a recipient leaves by     lmtp     to the mailboxes of Dovecot
maildir  to folders, for `postane dev`        smtp     to the mail servers of the world
"""
