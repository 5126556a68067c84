"""What was tried is known to the next run; what cannot be read is begun anew, and stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.tls.ledger import Common, Fault, Ledger, Left, Record
from postane.tls.schedule import Window
from postane.tls.store import Store


def test_both_kinds_are_kept_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Ledger(store)
    assert (first.of("a.test"), first.common) == (Record(), Common())
    record = first.of("a.test")
    record.names, record.faults = ["mail.a.test"], {"x.a.test": Fault(2, 5.0, "no")}
    record.advice = Window(1.0, 2.0)
    first.save("a.test")
    first.common.left.append(Left("far", "a.test", "_acme-challenge.a.test", '"text"'))
    first.common.orders.append(3.0)
    first.save_common()
    again = Ledger(Store(tmp_path))
    assert again.of("a.test") == record
    assert again.common == first.common


@pytest.mark.parametrize("text", ["", "{", "[]", '{"orders": "many"}', '{"fault": 3}'])
def test_what_cannot_be_read_is_begun_anew(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    ledger = Ledger(store)
    ledger.save("a.test")
    ledger.save_common()
    (store.folder / ".kept/a.test/state.json").write_text(text)
    (store.folder / ".ledger.json").write_text(text)
    again = Ledger(store)
    assert again.of("a.test") == Record()
    assert again.common == Common()
