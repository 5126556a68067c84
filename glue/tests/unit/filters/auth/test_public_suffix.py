from __future__ import annotations

from postane.filters.auth.public_suffix import by_list


def test_the_registered_domain_is_found() -> None:
    suffixes = by_list()
    assert suffixes("a.b.example.co.uk") == "example.co.uk"
    assert suffixes("example.com") == "example.com"
    assert suffixes("co.uk") == ""
    assert suffixes("a.xn--mze-hoa.xn--p1ai") == "xn--mze-hoa.xn--p1ai"
