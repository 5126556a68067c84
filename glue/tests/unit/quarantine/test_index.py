from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.core.errors import TemporaryError
from postane.quarantine.index import Index
from postane.quarantine.items import Fresh, Selection
from support.quarantine import make_fresh

AYSE = "ayse@demo.test"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "quarantine" / "index.sqlite3")
    yield made
    made.close()


def add(index: Index, *arrivals: Fresh, octets: int = 1 << 40, items: int = 1000) -> set[str]:
    return index.add(arrivals, most_octets=octets, most_items=items)


def states(index: Index) -> dict[int, str]:
    return {item.id: item.state for item in index.choose(Selection())}


def test_what_comes_twice_is_there_once(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(1, "ali@demo.test"))
    index.mark([1], "deleted", now=5, by="x")
    add(index, make_fresh(1), make_fresh(1), make_fresh(2))
    found = index.choose(Selection())
    assert [(item.spool_id[-1], item.mailbox, item.state) for item in found] == [
        ("1", AYSE, "deleted"),
        ("1", "ali@demo.test", "held"),
        ("2", AYSE, "held"),
    ]
    assert found[0].domain == "demo.test"
    assert found[0].subject == "Kârlı teklif"


def test_only_its_owner_may_look(index: Index) -> None:
    add(index, make_fresh(1))
    file = index._file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


SELECTIONS: list[tuple[Selection, list[int]]] = [
    (Selection(), [1, 2, 3, 4]),
    (Selection(ids=("2", "4")), [2, 4]),
    (Selection(ids=(f"{3:026}",)), [3]),
    (Selection(ids=("99", "rubbish", "-1", "1.5", "9" * 40, "٣")), []),
    (Selection(account="ali@demo.test"), [2]),
    (Selection(domain="demo.test"), [1, 2]),
    (Selection(tenant="BAKERY"), [4]),
    (Selection(reason="SCORE 7"), [1, 2]),
    (Selection(reason="dmarc"), [3]),
    (Selection(reason="%"), []),
    (Selection(since=1_700_000_003.0), [3, 4]),
    (Selection(state="released"), []),
    (Selection(state="held", domain="far.test", since=1_700_000_004.0), [4]),
]


@pytest.mark.parametrize(("wanted", "numbers"), SELECTIONS)
def test_who_is_meant(index: Index, wanted: Selection, numbers: list[int]) -> None:
    add(
        index,
        make_fresh(1),
        make_fresh(2, "ali@demo.test"),
        make_fresh(3, "x@far.test", reason="refused by p=reject", filter="DMARC"),
        make_fresh(4, "y@far.test", reason="a virus", tenant="bakery"),
    )
    assert [item.id for item in index.choose(wanted)] == numbers
    assert index.count(wanted) == len(numbers)
    assert [item.id for item in index.choose(wanted, 1)] == numbers[:1]


def test_deleted_and_restored_only_where_it_is_so(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(2))
    assert index.mark([1, 1, 7], "deleted", now=5, by="ali") == 1
    assert index.mark([1], "deleted", now=6, by="veli") == 0
    item = index.get(1)
    assert item is not None
    assert (item.state, item.changed_at, item.changed_by) == ("deleted", 5, "ali")
    assert index.mark([1, 2], "held", now=7, by="ali") == 1
    assert states(index) == {1: "held", 2: "held"}


def test_released_once(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(2))
    index.mark([2], "deleted", now=1, by="x")
    assert index.begin_release([(1, "A"), (2, "B"), (1, "C")], now=5, by="ali") == [1]
    assert index.begin_release([(1, "D")], now=6, by="veli") == []
    assert index.mark([1], "deleted", now=6, by="veli") == 0  # it is on its way
    assert index.unsettled() == ["A"]
    index.settle(["A", "nothing"])
    index.settle(["A"])
    assert index.undo(["A"]) == 0
    item = index.get(1)
    assert item is not None
    assert (item.state, item.changed_at, item.changed_by) == ("released", 5, "ali")
    assert index.begin_release([(1, "E")], now=7, by="ali") == []
    assert index.unsettled() == []


def test_what_was_never_sent_is_as_before(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(2))
    index.begin_release([(1, "A")], now=5, by="ali")
    index.begin_digest(AYSE, 100.0, "B", [1, 2], now=5)
    assert sorted(index.unsettled()) == ["A", "B"]
    assert index.undo(["A", "B", "C"]) == 2
    assert states(index) == {1: "held", 2: "held"}
    assert index.news() == [(AYSE, 1_700_000_001.0, 0.0)]
    assert index.begin_release([(1, "D")], now=6, by="ali") == [1]


def test_a_digest_tells_of_each_message_once(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(2), make_fresh(3, "ali@demo.test"))
    assert sorted(mailbox for mailbox, _, _ in index.news()) == ["ali@demo.test", AYSE]
    untold = index.untold(AYSE)
    assert [item.id for item in untold] == [2, 1]  # newest first
    assert index.begin_digest(AYSE, 100.0, "A", [1, 2], now=5)
    assert not index.begin_digest(AYSE, 100.0, "B", [1, 2], now=5)
    index.settle(["A"])
    assert index.news(AYSE) == []
    add(index, make_fresh(4))
    assert index.news(AYSE) == [(AYSE, 1_700_000_004.0, 100.0)]
    index.mark([4], "deleted", now=6, by="x")
    assert index.news(AYSE) == []


def test_what_waits_for_a_mailbox_newest_first(index: Index) -> None:
    add(index, *(make_fresh(n) for n in range(1, 6)), make_fresh(9, "ali@demo.test"))
    index.mark([3], "deleted", now=5, by="x")
    index.begin_release([(4, "A")], now=5, by="x")
    items, count = index.waiting(AYSE, 1_700_000_005.0, 10)
    assert ([item.id for item in items], count) == ([5, 2, 1], 3)
    items, count = index.waiting(AYSE, 1_700_000_004.9, 1)
    assert ([item.id for item in items], count) == ([2], 2)


@pytest.mark.parametrize(("octets", "items"), [(3 * 2048, 1000), (1 << 40, 3)])
def test_the_oldest_give_way_what_is_done_first(index: Index, octets: int, items: int) -> None:
    add(index, *(make_fresh(n) for n in range(1, 4)), make_fresh(9, "ali@demo.test"), octets=octets, items=items)
    index.mark([3], "deleted", now=5, by="x")
    assert add(index, make_fresh(4), octets=octets, items=items) == {f"{3:026}"}
    assert add(index, make_fresh(5), make_fresh(6), octets=octets, items=items) == {f"{1:026}", f"{2:026}"}
    assert [item.spool_id[-1] for item in index.choose(Selection(account=AYSE))] == ["4", "5", "6"]
    assert index.count(Selection(account="ali@demo.test")) == 1


def test_one_that_is_over_the_bound_alone_is_kept(index: Index) -> None:
    add(index, make_fresh(1))
    assert add(index, make_fresh(2, size=10_000), octets=5000) == {f"{1:026}"}
    assert [item.size for item in index.choose(Selection())] == [10_000]


def test_the_sweep_spares_what_is_on_its_way(index: Index) -> None:
    add(index, *(make_fresh(n) for n in range(1, 6)), make_fresh(1, "ali@demo.test"))
    index.begin_release([(1, "A")], now=5, by="x")
    index.mark([4], "deleted", now=50, by="x")
    before = 1_700_000_004.0
    assert index.mailboxes(before) == ["ali@demo.test", AYSE] or index.mailboxes(before) == [AYSE, "ali@demo.test"]
    assert index.sweep(AYSE, before, dry_run=True) == [f"{2:026}", f"{3:026}"]
    assert index.sweep(AYSE, before) == [f"{2:026}", f"{3:026}"]
    assert index.sweep_done(50) == []
    assert index.sweep_done(51) == [f"{4:026}"]
    assert sorted(states(index)) == [1, 5, 6]
    assert index.has_text([f"{1:026}", f"{2:026}"]) == {f"{1:026}"}


def test_numbers_are_never_used_again(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(2))
    index.sweep(AYSE, 9e9)
    add(index, make_fresh(3))
    assert list(states(index)) == [3]


def test_learned_is_noted_for_all_who_have_the_message(index: Index) -> None:
    add(index, make_fresh(1), make_fresh(1, "ali@demo.test"), make_fresh(2))
    index.learned(1, "spam")
    assert [item.learned for item in index.choose(Selection())] == ["spam", "spam", ""]


def test_two_processes_take_turns(index: Index) -> None:
    other = Index(index._file)
    begun: list[int] = []

    def release(one: Index, name: str) -> None:
        for number in range(1, 41):
            begun.extend(one.begin_release([(number, f"{name}{number}")], now=1, by=name))

    add(index, *(make_fresh(n) for n in range(1, 41)))
    threads = [threading.Thread(target=release, args=(one, name)) for one, name in ((index, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == list(range(1, 41))
    other.close()


@pytest.mark.parametrize("fault", ["rubbish", "folder"])
def test_a_broken_file_is_a_temporary_error(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "index.sqlite3"
    if fault == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"no database" * 1000)
    index = Index(file)
    with pytest.raises(TemporaryError, match=r"index\.sqlite3"):
        index.count(Selection())


def test_an_error_leaves_nothing_behind(index: Index) -> None:
    add(index, make_fresh(1))
    with pytest.raises(TemporaryError), index._change() as db:
        db.execute("UPDATE items SET state = 'deleted'")
        raise sqlite3.OperationalError("database or disk is full")
    assert states(index) == {1: "held"}
