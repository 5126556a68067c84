"""Organisational domains by the public suffix list, as RFC 7489 had them: the one doorway to publicsuffixlist.

The list comes with the package, which is released anew when the list changes.
"""

from __future__ import annotations

from functools import cache

from postane.filters.auth.dmarc_walk import Suffixes


@cache  # reading the list takes a tenth of a second
def by_list() -> Suffixes:
    """For A-labels: the domain that was registered, "" for a public suffix itself."""
    from publicsuffixlist import PublicSuffixList

    suffixes = PublicSuffixList()
    return lambda domain: suffixes.privatesuffix(domain) or ""
