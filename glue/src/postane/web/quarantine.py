"""`/q/<token>`: what a link in a digest leads to. No login: the link itself is the right to do one thing, signed.

    GET   shows the message's facts and a button; it changes nothing, so programs that follow links do no harm
    POST  does what the link says, once

200 shown or done · 403 forged, or the operator's matter · 409 done before · 410 expired, or the message is gone
429 too many wrong links from one network · 503 it could not be done now

Pages are in the reader's language (Accept-Language), hold no script and load nothing; no header or log line of ours
names the token.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jinja2
from litestar import MediaType, Request, Response, Router, get, post

from postane.admin import quarantine
from postane.config.model import Config
from postane.core.errors import NotFoundError, PostaneError
from postane.core.ports import Now
from postane.observe.log import get_logger
from postane.quarantine.items import Item
from postane.quarantine.token import KEY, Action, ExpiredError, ForgedError, Token, seal, unseal
from postane.quarantine.words import Words, choose
from postane.storage.secret import secret

log = get_logger("web")

_WRONG = 20  # wrong links from one network in
_WINDOW = 600.0  # seconds
_NETWORKS = 10_000
_MOST_FORM = 1024
_BY = "link"
_LISTED = 200  # messages on a page

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --quiet: #57606a; --line: #c4c9d0; --act: #0b5cad;
  --on: #fff; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --text: #e6e9ed; --quiet: #a2abb5; --line: #3a4048;
  --act: #4c9bea; --on: #0c1116; } }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; background: var(--back); color: var(--text); }
nav, main { max-width: 40rem; margin: 0 auto; padding: 1rem; }
nav { border-bottom: 1px solid var(--line); color: var(--quiet); }
nav ul { list-style: none; display: flex; gap: .5rem; margin: 0; padding: 0; }
nav li + li::before { content: "/"; margin-right: .5rem; }
h1 { font-size: 1.4rem; line-height: 1.25; }
dl { margin: 1rem 0; }
dt { color: var(--quiet); font-size: .875rem; }
dd { margin: 0 0 .5rem; overflow-wrap: anywhere; }
label { display: block; margin: 1rem 0; }
article { border-top: 1px solid var(--line); padding: .75rem 0; overflow-wrap: anywhere; }
article p { margin: 0 0 .5rem; }
a { color: var(--act); }
article a { display: inline-block; padding: .5rem 1rem .5rem 0; }
small { color: var(--quiet); }
button { font: inherit; padding: .75rem 1.25rem; border: 0; border-radius: .375rem; background: var(--act);
  color: var(--on); cursor: pointer; }
button:focus-visible { outline: 3px solid var(--text); outline-offset: 2px; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address of the page is the right to act
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Vary": "Accept-Language",
}


def make_links(config: Config, now: Now = time.time) -> Router:
    """The routes under /q."""
    links = Links(config, now)

    @get("/{token:str}", media_type=MediaType.HTML, include_in_schema=False)
    async def look(request: Request[Any, Any, Any]) -> Response[str]:
        return await links.answer(request, links.look)

    @post(
        "/{token:str}",
        media_type=MediaType.HTML,
        include_in_schema=False,
        status_code=200,
        request_max_body_size=_MOST_FORM,
    )
    async def act(request: Request[Any, Any, Any]) -> Response[str]:
        form = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10)
        return await links.answer(request, lambda token, words: links.act(token, words, teach="learn" in form))

    return Router("/q", route_handlers=[look, act])


class Links:
    """Answers for all links. One for each process."""

    def __init__(self, config: Config, now: Now) -> None:
        self._config = config
        self._now = now
        self._wrong = Wrong(now)
        self._template = jinja2.Environment(
            loader=jinja2.PackageLoader("postane.web"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        ).get_template("quarantine.html.j2")

    async def answer(
        self, request: Request[Any, Any, Any], then: Callable[[Token, Words], Response[str]]
    ) -> Response[str]:
        token = str(request.path_params["token"])
        words = Words(choose(request.headers.get("accept-language", "")))
        client = request.client.host if request.client else ""
        if self._wrong.too_many(client):
            return self.page(words, "too_many", 429, headers={"Retry-After": str(int(_WINDOW))})
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._read, token, words, then)
        except ForgedError:
            self._wrong.note(client)
            log.warning("forged link", client_ip=client)
            return self.page(words, "forged", 403)
        except ExpiredError:
            return self.page(words, "expired", 410)
        except (PostaneError, OSError) as error:
            log.error("link not served", reason=str(error))
            return self.page(words, "failed", 503)

    def _read(self, token: str, words: Words, then: Callable[[Token, Words], Response[str]]) -> Response[str]:
        return then(unseal(self._key(), token, self._now()), words)

    def _key(self) -> bytes:
        return secret(Path(self._config.state), KEY)

    def _held(self, token: Token, words: Words, *, already: int) -> Item | Response[str]:
        """The message, if the link may still do something about it, else the page that says why not."""
        item = self._item(token)
        if item is None:
            return self.page(words, "gone", 410)
        if item.state != "held":
            return self._already(item, words, already)
        if self._dangerous(token, item):
            return self.page(words, "dangerous", 403, item=item)
        return item

    def look(self, token: Token, words: Words) -> Response[str]:
        """What the link is about, and the button."""
        if token.action == "list":
            return self._list(token, words)
        item = self._held(token, words, already=200)
        if isinstance(item, Response):
            return item
        return self.page(words, token.action, 200, item=item, asks=True)

    def act(self, token: Token, words: Words, *, teach: bool) -> Response[str]:
        """Does it, once."""
        if token.action == "list":
            return self._list(token, words)
        item = self._held(token, words, already=409)
        if isinstance(item, Response):
            return item
        wanted = quarantine.selection([str(item.id)], account=token.mailbox)
        teach = teach and bool(self._config.quarantine.learn_url)
        try:
            if token.action == "release":
                done = quarantine.release(self._config, wanted, by=_BY, teach=teach)
            else:
                done = quarantine.delete(self._config, wanted, by=_BY, now=self._now)
        except NotFoundError:  # another request was quicker
            now = self._item(token)
            return self.page(words, "gone", 410) if now is None else self._already(now, words, 409)
        for said in done.failed:
            log.warning("link half served", reason=said)
        if not done.count:
            return self.page(words, "failed", 503)
        return self.page(words, "released" if token.action == "release" else "deleted", 200, item=item)

    def _dangerous(self, token: Token, item: Item) -> bool:
        """True for what only the operator lets out; a link may be older than the configuration."""
        return token.action == "release" and item.filter in self._config.quarantine.operator_only

    def _list(self, token: Token, words: Words) -> Response[str]:
        """What came for the mailbox before the link was made, newest first; its links live as long as this one."""
        store = quarantine.open_store(self._config)
        try:
            items, count = store.index.waiting(token.mailbox, token.item, _LISTED)
        finally:
            store.close()
        key, operator_only = self._key(), self._config.quarantine.operator_only

        def link(item: Item, action: Action) -> str:
            return seal(key, Token(action, item.id, item.mailbox, token.expires))

        rows = [
            (item, "" if item.filter in operator_only else link(item, "release"), link(item, "delete"))
            for item in items
        ]
        title = words("page.list.title", count=count, mailbox=token.mailbox)
        return self._respond(
            200, words, title, words("page.list.note"), rows=rows, older=max(0, count - len(rows)), here="page.brand"
        )

    def _item(self, token: Token) -> Item | None:
        store = quarantine.open_store(self._config)
        try:
            item = store.index.get(token.item)
        finally:
            store.close()
        return item if item is not None and item.mailbox == token.mailbox else None

    def _already(self, item: Item, words: Words, status: int) -> Response[str]:
        return self.page(words, f"already_{item.state}", status, item=item)

    def page(
        self,
        words: Words,
        name: str,
        status: int,
        *,
        item: Item | None = None,
        asks: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Response[str]:
        """`asks`: with the button that does what `name` says."""
        return self._respond(
            status,
            words,
            words(f"page.{name}.title"),
            words(f"page.{name}.note", time=words.time(item.changed_at) if item else ""),
            item=item,
            act=words(f"act.{name}") if asks else "",
            learns=asks and name == "release" and bool(self._config.quarantine.learn_url),
            headers=headers,
        )

    def _respond(
        self,
        status: int,
        words: Words,
        title: str,
        note: str,
        *,
        item: Item | None = None,
        act: str = "",
        learns: bool = False,
        rows: Sequence[tuple[Item, str, str]] = (),
        older: int = 0,
        here: str = "page.nav",
        headers: dict[str, str] | None = None,
    ) -> Response[str]:
        text = self._template.render(
            words=words,
            title=title,
            note=note,
            item=item,
            act=act,
            learns=learns,
            rows=rows,
            older=older,
            here=words(here),
            style=_STYLE,
        )
        return Response(text, status_code=status, media_type=MediaType.HTML, headers={**HEADERS, **(headers or {})})


class Wrong:
    """Wrong links by network (IPv4 /32, IPv6 /64): nobody may try for long, and nobody fills the memory."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when the window began, and how many

    def too_many(self, client: str) -> bool:
        began, count = self._counts.get(_network(client), (0.0, 0))
        return count >= _WRONG and self._now() - began < _WINDOW

    def note(self, client: str) -> None:
        network, now = _network(client), self._now()
        began, count = self._counts.pop(network, (now, 0))
        self._counts[network] = (began, count + 1) if now - began < _WINDOW else (now, 1)
        while len(self._counts) > _NETWORKS:
            self._counts.popitem(last=False)


def _network(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
