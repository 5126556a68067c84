"""Bad configurations: each is refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.config.load import load, parse
from postane.core.errors import ConfigError

GOOD = "host: mail.example.org\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yml:1: the file is empty; at least `host:` is needed"),
        ("# nothing\n", "f.yml:1: the file is empty"),
        ("- a\n", "f.yml:1: the file must be a mapping of keys"),
        ("host: [\n", "f.yml:2: not YAML: "),
        ("host: a\n\tb: c\n", "f.yml:2: not YAML: "),
        ("smtp: {}\n", "f.yml:1: the file: needs the key 'host'"),
        (GOOD + "smpt: {}\n", "f.yml:2: key 'smpt' is not known; did you mean 'smtp'?"),
        (
            GOOD + "smtp:\n  limits:\n    recipient: 3\n",
            "f.yml:4: key 'recipient' is not known; did you mean 'recipients'?",
        ),
        (GOOD + "zzz: 1\n", "f.yml:2: key 'zzz' is not known; known here: api, "),
        (GOOD + GOOD, "f.yml:2: key 'host' is given twice"),
        (GOOD + "smtp:\n  workers: -1\n", "f.yml:3: smtp.workers: Expected 'int' >= 0"),
        (GOOD + "smtp:\n  workers: many\n", "f.yml:3: smtp.workers: Expected 'int', got 'str'"),
        (GOOD + "smtp: 3\n", "f.yml:2: smtp: Expected 'object', got 'int'"),
        (GOOD + "smtp:\n  listen:\n    smtp: ['25']\n", "f.yml:4: smtp.listen.smtp: '25' is not address:port"),
        (GOOD + "smtp:\n  listen:\n    smtp: [3]\n", "f.yml:4: smtp.listen.smtp[0]: Expected 'str'"),
        (GOOD + "delivery:\n  local: mbox\n", "f.yml:3: delivery.local: Invalid enum value 'mbox'"),
        (GOOD + "delivery:\n  local: maildir\n", "f.yml:3: delivery.local: maildir needs delivery.maildir"),
        (GOOD + "tls:\n  key: /x\n", "f.yml:2: tls: certificate and key go together"),
        ("host: localhost\n", "f.yml:1: host: 'localhost' is not a full host name"),
        (GOOD + "spool:\n  large_message: 999999999\n", "f.yml:3: spool.large_message: at most half"),
        (GOOD + "queue:\n  retry_most: 1\n", "f.yml:3: queue.retry_most: shorter than"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yml")
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 78


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"host: m\xfcze.example\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yml")


def test_defaults_and_values() -> None:
    config = parse(GOOD + "smtp:\n  limits:\n    errors: 3\nqueue:\n  retry_first: 10\n", "f.yml")
    assert (config.smtp.limits.errors, config.smtp.limits.recipients) == (3, 100)
    assert config.queue.retry_first == 10.0
