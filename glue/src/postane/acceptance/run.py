"""Runs checks side by side, each and all of them bounded in time. Nothing that one does keeps another from its result.

What a check raises, of whatever kind, is its own failure.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping

from postane.acceptance.result import Case, FailedError, Reason, Result, SkippedError, Verdict
from postane.core.errors import PostaneError

Check = Callable[[Case], Awaitable[object]]
Told = Callable[[Result], None]


async def run(checks: Mapping[str, Check], *, each: float, total: float, told: Told = lambda _: None) -> list[Result]:
    """The results in the order of `checks`; `told` hears of each as it comes. `each` and `total` are seconds."""
    end = time.monotonic() + total
    tasks = [asyncio.create_task(_one(name, check, min(each, total), end, told)) for name, check in checks.items()]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _one(name: str, check: Check, each: float, end: float, told: Told) -> Result:
    case, begun = Case(), time.monotonic()
    verdict, reason = Verdict.PASS, Reason()
    try:
        async with asyncio.timeout(max(min(each, end - begun), 0)):
            await check(case)
    except SkippedError as error:
        verdict, reason = Verdict.SKIPPED, error.reason
    except FailedError as error:
        verdict, reason = Verdict.FAIL, error.reason
    except TimeoutError as error:
        # A socket's, which says so itself, or that of the check.
        late = FailedError("late", seconds=f"{time.monotonic() - begun:.0f}", said=str(error) or "-")
        verdict, reason = Verdict.FAIL, late.reason
    except ssl.SSLCertVerificationError as error:
        verdict, reason = Verdict.FAIL, FailedError("untrusted", said=error.verify_message).reason
    except (PostaneError, OSError, EOFError, ValueError, LookupError) as error:
        verdict, reason = Verdict.FAIL, FailedError("said", said=str(error) or type(error).__name__).reason
    except Exception as error:  # ours to mend: the run goes on, and the page says what it was
        verdict, reason = Verdict.FAIL, FailedError("said", said=f"{type(error).__name__}: {error}").reason
    result = Result(name, verdict, reason, case.evidence, time.monotonic() - begun)
    told(result)
    return result
