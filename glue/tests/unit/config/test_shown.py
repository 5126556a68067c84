"""What is shown holds no password."""

from __future__ import annotations

import pytest

from postane.config.model import Config, Directory
from postane.config.shown import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("sqlite:////var/lib/postane/directory.sqlite3", "sqlite:////var/lib/postane/directory.sqlite3"),
        ("postgresql://postane:s3cr:et@db.test:5432/mail", "postgresql://postane:***@db.test:5432/mail"),
        ("postgresql://postane@db.test/mail", "postgresql://postane@db.test/mail"),
        (
            "postgresql://db.test/mail?user=x&password=s3cret&sslmode=require",
            "postgresql://db.test/mail?user=x&password=***&sslmode=require",
        ),
    ],
)
def test_passwords_are_hidden(url: str, shown: str) -> None:
    config = Config(host="mail.host.test", directory=Directory(url=url))
    assert without_secrets(config).directory.url == shown
    assert without_secrets(config).host == config.host
