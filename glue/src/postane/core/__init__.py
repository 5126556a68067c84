"""Pure values and decisions that every floor shares.

Nothing here does I/O, reads a clock or knows a library (but `idna`, for domain names).
"""
