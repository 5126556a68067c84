"""Who wrote: entries of allow and block lists, and what follows from them."""
