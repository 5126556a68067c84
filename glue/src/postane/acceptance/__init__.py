"""The acceptance run of a hosted domain: real mail in and out, every door, every record; a signed page at the end."""
