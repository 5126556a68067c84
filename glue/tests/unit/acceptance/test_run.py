from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping

import pytest

from postane.acceptance.result import Case, FailedError, Result, SkippedError, Verdict, whole
from postane.acceptance.run import Check, run
from postane.core.errors import TemporaryError


def ran(checks: Mapping[str, Check], *, each: float = 5.0, total: float = 5.0) -> list[Result]:
    return asyncio.run(run(checks, each=each, total=total))


async def good(case: Case) -> None:
    case.note("seen")


async def never(case: Case) -> None:
    case.note("waited")
    await asyncio.sleep(60)


def raises(error: BaseException) -> Check:
    async def check(case: Case) -> None:
        case.note("before")
        raise error

    return check


def test_one_that_fails_hides_no_other() -> None:
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "certificate has expired"
    checks = {
        "first": raises(FailedError("no_mail")),
        "second": good,
        "third": raises(SkippedError("not_offered")),
        "fourth": raises(TemporaryError("DNS: silence")),
        "fifth": raises(KeyError("field")),
        "sixth": raises(ConnectionRefusedError(111, "Connection refused")),
        "seventh": raises(RuntimeError("a fault of ours")),
        "eighth": raises(untrusted),
    }
    found = ran(checks)
    assert [one.name for one in found] == list(checks)
    assert [one.verdict.value for one in found] == ["fail", "pass", "skipped"] + ["fail"] * 5
    assert all(one.evidence for one in found)
    assert found[0].reason.key == "no_mail"
    said = [one.reason.values.get("said") for one in found[3:]]
    assert said == [
        "DNS: silence",
        "'field'",
        "[Errno 111] Connection refused",
        "RuntimeError: a fault of ours",
        "certificate has expired",
    ]


def test_each_and_all_are_bounded() -> None:
    begun = time.monotonic()
    slow, fast = ran({"slow": never, "fast": good}, each=0.2)
    assert (slow.verdict, slow.reason.key, slow.evidence, fast.verdict) == (
        Verdict.FAIL,
        "late",
        ("waited",),
        Verdict.PASS,
    )
    assert ran({"slow": never}, each=50.0, total=0.2)[0].reason.key == "late"
    assert time.monotonic() - begun < 30


def test_they_run_side_by_side() -> None:
    turn = asyncio.Event()

    async def first(_: Case) -> None:
        await turn.wait()

    async def second(_: Case) -> None:
        turn.set()

    assert [one.verdict for one in ran({"first": first, "second": second})] == [Verdict.PASS] * 2


def test_who_ends_the_run_ends_its_checks() -> None:
    ended = []

    async def check(_: Case) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def work() -> None:
        task = asyncio.create_task(run({"a": check, "b": check}, each=60, total=60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(work())
    assert ended == [True, True]


def test_what_is_seen_is_bounded_and_harmless() -> None:
    case = Case()
    case.note("a\x1b[31mred\r\n\u202e", "x" * 10_000, "\udc80")
    for _ in range(1000):
        case.note("more")
    assert case.evidence[0] == "a [31mred"
    assert len(case.evidence[1]) == 400
    assert case.evidence[2] == "?"
    assert len(case.evidence) == 60


def test_the_whole() -> None:
    def of(*verdicts: Verdict) -> Verdict:
        return whole(tuple(Result("x", one, FailedError("").reason, (), 0.0) for one in verdicts))

    assert of(Verdict.PASS, Verdict.SKIPPED) is Verdict.PASS
    assert of(Verdict.PASS, Verdict.FAIL) is Verdict.FAIL
    assert of(Verdict.SKIPPED) is Verdict.FAIL
    assert of() is Verdict.FAIL
