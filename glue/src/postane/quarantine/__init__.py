"""Mail that a filter suspects, kept apart from the mailbox: where it lies, who is told of it, and how it comes out.

queue → transport → store (text, index) → digest to the owner → link or verb → service → spool → mailbox
"""
