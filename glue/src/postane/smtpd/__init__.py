"""The SMTP service: a pure dialogue, an aiosmtpd server that moves its octets, and the handler that decides.

octets → server → dialogue → event → handler (directory, filters, spool) → reply → dialogue → server → octets
"""
