"""Filters: small judges of a peer, a sender, a recipient or a message, run in four phases by the pipeline."""
