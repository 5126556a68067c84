import pytest

from postane.delivery.mailbox_name import mailbox_name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("Ayse+list@demo.test", "Ayse+list@demo.test"),
        ("çiğdem@demo.test", "utf8-c3a769c49f64656d@demo.test"),
        ("ÇİĞDEM@demo.test", "utf8-c3a769c49f64656d@demo.test"),
        ("çiğdem+list@demo.test", "utf8-c3a769c49f64656d+list@demo.test"),
        ("çiğdem+liste-ş@demo.test", "utf8-c3a769c49f64656d@demo.test"),
        ("ayse+ş@demo.test", "ayse@demo.test"),
        ("ayse@bücher.example", "ayse@xn--bcher-kva.example"),
    ],
)
def test_ascii_whatever_the_address(address: str, name: str) -> None:
    assert mailbox_name(address) == name
    assert name.isascii()
