from __future__ import annotations

import subprocess
import sys

import pytest

from postane.config.model import Dns
from postane.core.errors import ConfigError
from postane.dns.shared import shared


def test_all_who_ask_share_one_resolver() -> None:
    ask = shared(Dns(nameservers=("127.0.0.1:53",)))
    assert ask() == ask()
    assert ask() != shared(Dns(nameservers=("127.0.0.1:53",)))()


def test_a_bad_nameserver_is_told_when_the_first_one_asks() -> None:
    ask = shared(Dns(nameservers=("nowhere",)))
    with pytest.raises(ConfigError, match="nowhere"):
        ask()


def test_nothing_is_loaded_before() -> None:
    code = "import sys; from postane.config.model import Dns; from postane.dns.shared import shared; shared(Dns()); "
    subprocess.run([sys.executable, "-c", f"{code}sys.exit('dns' in sys.modules)"], check=True)
