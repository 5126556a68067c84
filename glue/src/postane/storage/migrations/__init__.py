"""The schema's history, one revision a file; `postane directory upgrade` applies what is missing."""

HEAD = "0006"  # the newest revision
