"""The acceptance document: results with their words, as JSON. Pure; `seal.py` signs it, `page.py` shows it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from postane.acceptance.result import Result, Verdict, whole
from postane.acceptance.seal import Document
from postane.acceptance.words import Words

KIND, VERSION = "postane-acceptance", 1


@dataclass(frozen=True, slots=True)
class Run:
    """Times are seconds since the epoch; `software` is the version that ran."""

    domain: str
    shown: str
    host: str
    provider: str
    software: str
    state: str
    begun: float
    ended: float


def document(run: Run, results: Sequence[Result]) -> Document:
    """Not yet signed. Texts are English; `reason.key` and `reason.values` let a page say them in another language."""
    words = Words("en")
    return {
        "kind": KIND,
        "version": VERSION,
        "domain": run.domain,
        "shown": run.shown,
        "host": run.host,
        "provider": run.provider,
        "software": run.software,
        "state": run.state,
        "begun": _utc(run.begun),
        "ended": _utc(run.ended),
        "milliseconds": round((run.ended - run.begun) * 1000),
        "verdict": whole(tuple(results)).value,
        "counts": {one.value: sum(result.verdict is one for result in results) for one in Verdict},
        "checks": [_check(result, words) for result in results],
    }


def _check(result: Result, words: Words) -> Document:
    return {
        "name": result.name,
        "title": words(f"check.{result.name}"),
        "did": words(f"did.{result.name}"),
        "verdict": result.verdict.value,
        "reason": {
            "key": result.reason.key,
            "values": dict(result.reason.values),
            "text": words.reason(result.reason.key, result.reason.values),
        },
        "evidence": list(result.evidence),
        "milliseconds": round(result.seconds * 1000),
    }


def _utc(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
