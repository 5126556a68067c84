"""What mail programs ask, for any number of domains: autoconfig, autodiscover, profiles, PACC, MTA-STS, `.well-known`.

No login, and no answer depends on whether an account exists. Whatever is not hosted, is switched off or makes no sense
gets one and the same 404. Which domain is meant is said by the address in the request, or by the name it was sent to
(the Host header, which nginx hands on).

200 · 302 to the page where a password is changed · 404 · 413 more than 16 KiB of XML · 503 the directory does not
answer, or the certificate that profiles are signed with cannot be read
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.handlers import HTTPRouteHandler

from postane.admin import clients
from postane.admin.site import Site
from postane.clients import autodiscover, mobileconfig, mta_sts, pacc, security_txt
from postane.clients.asked import domain_of_address, domain_of_host, mailbox
from postane.clients.autoconfig import PATHS, autoconfig
from postane.clients.model import Setup, host_domain
from postane.core.errors import PostaneError
from postane.core.ports import Now
from postane.observe.log import get_logger
from postane.quarantine.words import choose

log = get_logger("web")

Asking = Request[Any, Any, Any]
Answer = Response[bytes]

_XML = "application/xml; charset=utf-8"
_TEXT = "text/plain"  # the framework puts the charset behind all that is text
_JSON = "application/json"

_KEEP = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
_KEEP_NOT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

# Outlook's releases write the path differently.
_POX_PATHS = (autodiscover.PATH, "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml")


def make_clients(site: Site, now: Now = time.time) -> Router:
    """All routes."""
    desk = Desk(site, now)

    def route(paths: str | Iterable[str], handle: Callable[[Asking], Answer]) -> HTTPRouteHandler:
        @get([paths] if isinstance(paths, str) else list(paths), include_in_schema=False)
        async def handler(request: Asking) -> Answer:
            return await desk.answer(handle, request)

        return handler

    @post(list(_POX_PATHS), include_in_schema=False, status_code=200, request_max_body_size=autodiscover.MOST_OCTETS)
    async def pox(request: Asking) -> Answer:
        body = await request.body()
        return await desk.answer(lambda _: desk.autodiscover(body), request)

    return Router(
        "/",
        route_handlers=[
            route(PATHS, desk.autoconfig),
            pox,
            route([autodiscover.JSON_PATH, f"{autodiscover.JSON_PATH}/v1.0/{{address:str}}"], desk.where),
            route(mobileconfig.PATH, desk.mobileconfig),
            route(pacc.PATH, desk.pacc),
            route(mta_sts.PATH, desk.mta_sts),
            route(security_txt.PATH, desk.security),
            route("/.well-known/change-password", desk.change_password),
        ],
    )


class Desk:
    """Answers for all of them; one for each process. Methods run in threads: they read the directory and files."""

    def __init__(self, site: Site, now: Now) -> None:
        self._site = site
        self._now = now
        self._signing = Signing(site.config.tls.certificate, site.config.tls.key)

    async def answer(self, handle: Callable[[Asking], Answer], request: Asking) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, handle, request)
        except (PostaneError, OSError, ValueError) as error:
            log.error("mail program not served", path=request.url.path, reason=str(error))
            return Response(b"try again later\n", status_code=503, media_type=_TEXT, headers=_KEEP_NOT)

    def autoconfig(self, request: Asking) -> Answer:
        address = request.query_params.get("emailaddress", "")
        setup = self._setup(domain_of_address(address) if address else _asked_host(request))
        return _none() if setup is None else Response(autoconfig(setup), media_type=_XML, headers=_KEEP)

    def autodiscover(self, body: bytes) -> Answer:
        try:
            asked = autodiscover.read_request(body)
        except autodiscover.BadRequestError:
            return _pox(autodiscover.error(autodiscover.INVALID))
        if asked.schema != autodiscover.OUTLOOK:  # ActiveSync is not spoken here
            return _pox(autodiscover.error(autodiscover.NO_PROVIDER))
        address = mailbox(asked.address)
        setup = self._setup(address.key_domain if address else None)
        return _none() if setup is None or address is None else _pox(autodiscover.settings(setup, address))

    def where(self, request: Asking) -> Answer:
        given = {name.lower(): value for name, value in request.query_params.items()}
        address = str(request.path_params.get("address", given.get("email", "")))
        setup = self._setup(domain_of_address(address))
        if setup is None:
            return _none()
        said = autodiscover.where(setup, given.get("protocol", ""))
        if said is None:
            said = {"ErrorCode": "ProtocolNotSupported", "ErrorMessage": "Only AutodiscoverV1 is served here."}
            return Response(_json(said), status_code=400, media_type=_JSON, headers=_KEEP_NOT)
        return Response(_json(said), media_type=_JSON, headers=_KEEP)

    def mobileconfig(self, request: Asking) -> Answer:
        address = mailbox(request.query_params.get("emailaddress", ""))
        setup = self._setup(address.key_domain if address else None)
        if address is None or setup is None:
            return _none()
        language = choose(request.headers.get("accept-language", ""))
        made = self._signing.sign(mobileconfig.profile(setup, address, language))
        name = f'attachment; filename="{setup.domain}.mobileconfig"'
        headers = {**_KEEP_NOT, "Content-Disposition": name, "Vary": "Accept-Language"}
        return Response(made, media_type=mobileconfig.TYPE, headers=headers)

    def pacc(self, request: Asking) -> Answer:
        setup = self._setup(_asked_host(request, pacc.LABEL))
        return _none() if setup is None else Response(pacc.document(setup), media_type=_JSON, headers=_KEEP)

    def mta_sts(self, request: Asking) -> Answer:
        setup = self._setup(_asked_host(request, mta_sts.LABEL))
        if setup is None or setup.mta_sts is None:
            return _none()
        return Response(mta_sts.policy_text(setup.mta_sts).encode(), media_type="text/plain", headers=_KEEP)

    def security(self, _: Asking) -> Answer:
        config = self._site.config
        contact = config.clients.security_contact or f"mailto:postmaster@{host_domain(config.host)}"
        return Response(security_txt.security_text(contact, self._now()).encode(), media_type=_TEXT, headers=_KEEP)

    def change_password(self, _: Asking) -> Answer:
        url = self._site.config.clients.change_password
        return Response(b"", status_code=302, headers={"Location": url, **_KEEP_NOT}) if url else _none()

    def _setup(self, domain: str | None) -> Setup | None:
        return None if domain is None else clients.setup_of(self._site, domain)


class Signing:
    """Signs with the host's certificate, which is renewed from time to time; without one, not at all."""

    def __init__(self, certificate: str, key: str) -> None:
        self._files = (Path(certificate), Path(key)) if certificate and key else None
        self._loaded: tuple[tuple[int, ...], mobileconfig.Signer] | None = None

    def sign(self, data: bytes) -> bytes:
        """Raises OSError and ValueError for files that cannot be used."""
        if self._files is None:
            return data
        certificate, key = self._files
        seen = tuple(number for path in self._files for number in (path.stat().st_mtime_ns, path.stat().st_ino))
        if self._loaded is None or self._loaded[0] != seen:
            self._loaded = seen, mobileconfig.Signer.load(certificate.read_bytes(), key.read_bytes())
        return self._loaded[1].sign(data)


def _asked_host(request: Asking, label: str = "") -> str | None:
    return domain_of_host(request.headers.get("host", ""), label)


def _none() -> Answer:
    return Response(b"not found\n", status_code=404, media_type=_TEXT, headers=_KEEP_NOT)


def _pox(body: bytes) -> Answer:
    return Response(body, media_type="text/xml", headers=_KEEP_NOT)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
