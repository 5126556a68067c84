"""Authentication of mail: evaluators that decide, and ask the DNS by an injected question."""
