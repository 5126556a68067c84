"""Puts the stages together and runs them: the SMTP workers, the queue, and both in one for `postane dev`."""
