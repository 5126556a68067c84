"""Evaluates DMARC (RFC 9989): what does the author's domain ask, and does anything align with it.

An identifier counts only if its mechanism passed for it. What could not be asked now, and would have decided, makes
`temperror`, never `fail` (section 5.3.6). Sans I/O but for the injected question; never raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postane.core.errors import TemporaryError
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc_record import Policy, Record
from postane.filters.auth.dmarc_walk import Discovery, Found


@dataclass(frozen=True, slots=True)
class Identifier:
    """A domain that a mechanism spoke about: `result` in the words of RFC 8601, only `pass` authenticates."""

    domain: str
    result: Result


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`domain` is the author's, "" if there is none. `policy` is what the record asks for that domain (p, sp or np);
    `disposition` what it asks for this message, test mode (t=y) heeded. `record` is the one that applied.
    """

    result: Result
    domain: str = ""
    organizational_domain: str = ""
    policy: Policy = "none"
    disposition: Policy = "none"
    spf_aligned: bool = False
    dkim_aligned: bool = False
    reason: str = ""
    record: Record | None = None
    record_at: str = ""


_TESTED: dict[Policy, Policy] = {"none": "none", "quarantine": "none", "reject": "quarantine"}  # section 4.7, t=


async def judge(domain: str, spf: Sequence[Identifier], dkim: Sequence[Identifier], discovery: Discovery) -> Evaluation:
    """For an author domain, as A-labels. `spf` is the result for the MAIL FROM identity (section 4.4.2)."""
    try:
        found = await discovery.policy(domain)
    except TemporaryError as error:
        return Evaluation(Result.TEMPERROR, domain, reason=str(error))
    if found.record is None or not found.record.applies:
        reason = "no policy record" if found.record is None else "the policy record has no policy that can be read"
        return Evaluation(Result.NONE, domain, found.organizational, reason=reason)
    record = found.record
    spf_aligned, spf_unsure = await _aligned(found, domain, spf, record.strict_spf, discovery)
    dkim_aligned, dkim_unsure = await _aligned(found, domain, dkim, record.strict_dkim, discovery)
    passed = spf_aligned or dkim_aligned
    result = Result.PASS if passed else Result.FAIL
    reason = "" if passed else (spf_unsure or dkim_unsure or "neither SPF nor DKIM passed for an aligned domain")
    if not passed and (spf_unsure or dkim_unsure):
        result = Result.TEMPERROR
    try:
        policy = await _policy(found, domain, discovery)
    except TemporaryError as error:
        policy = record.for_subdomain(exists=True)
        if not passed:
            result, reason = Result.TEMPERROR, str(error)
    asked = policy if result is Result.FAIL else "none"
    disposition = _TESTED[asked] if record.testing else asked
    return Evaluation(
        result,
        domain,
        found.organizational or domain,
        policy,
        disposition,
        spf_aligned,
        dkim_aligned,
        reason,
        record,
        found.at,
    )


async def _policy(found: Found, domain: str, discovery: Discovery) -> Policy:
    """p for the domain that has the record, sp or np below it. Raises TemporaryError."""
    assert found.record is not None
    if found.at == domain:
        return found.record.p
    exists = found.record.np is None or await discovery.exists(domain)
    return found.record.for_subdomain(exists=exists)


async def _aligned(
    found: Found, domain: str, identifiers: Sequence[Identifier], strict: bool, discovery: Discovery
) -> tuple[bool, str]:
    """Whether one that passed aligns (section 4.10.2); and why that may not be the last word, or ""."""
    unsure = ""
    for one in identifiers:
        if one.result not in (Result.PASS, Result.TEMPERROR):
            continue
        same = one.domain == domain
        try:
            if not same and (strict or not await _same_organization(found, one.domain, discovery)):
                continue
        except TemporaryError as error:
            unsure = unsure or str(error)
            continue
        if one.result is Result.PASS:
            return True, ""
        unsure = unsure or f"{one.domain} could not be checked now"
    return False, unsure


async def _same_organization(found: Found, other: str, discovery: Discovery) -> bool:
    """Raises TemporaryError."""
    if not found.organizational:
        # Our own walk did not come to its end. The top labels tell at least who can be no relative.
        if other.split(".")[-1] != found.at.split(".")[-1]:
            return False
        raise TemporaryError(f"the organisational domain of {found.at} cannot be known now")
    # An organisational domain is the name itself or stands above it: most strangers need no question.
    if other != found.organizational and not other.endswith("." + found.organizational):
        return False
    return await discovery.organizational(other) == found.organizational
