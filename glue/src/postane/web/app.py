"""The HTTP application: `/api/v1/health` tells whether the parts of this host answer, `/q/` serves links of digests.

200 {"status": "ok", "version": …, "checks": {"directory": "ok", "queue": "ok", "spool": "ok"}}
503 with "status": "failing" and the reason beside the check that failed

What mail programs ask of a provider is in `web.clients`.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.openapi import OpenAPIConfig

from postane.admin import tenant
from postane.admin.site import Site
from postane.core.errors import PostaneError
from postane.observe import scrape
from postane.web.clients import make_clients
from postane.web.metrics import make_metrics
from postane.web.quarantine import make_links


class Health(msgspec.Struct):
    status: str
    version: str
    checks: dict[str, str]


def make_app(site: Site) -> Litestar:
    """The application of one host."""

    @get("/api/v1/health", media_type=MediaType.JSON, summary="Whether the parts of this host answer")
    async def health() -> Response[Health]:
        loop = asyncio.get_running_loop()
        checks = {
            "directory": await loop.run_in_executor(None, _directory, site),
            "queue": await _queue(Path(site.config.runtime) / "queue.sock"),
            "spool": await loop.run_in_executor(None, _spool, site),
        }
        good = all(said == "ok" for said in checks.values())
        body = Health("ok" if good else "failing", version("postane"), checks)
        return Response(body, status_code=200 if good else 503)

    return Litestar(
        [health, make_metrics(Path(site.config.runtime) / scrape.FOLDER), make_links(site.config), make_clients(site)],
        openapi_config=OpenAPIConfig(title="Postane", version="1", path="/api/v1/schema"),
        logging_config=None,  # lines go the way of observe.log
    )


def _directory(site: Site) -> str:
    try:
        tenant.every(site)
    except PostaneError as error:
        return str(error)
    return "ok"


def _spool(site: Site) -> str:
    workers = list((Path(site.config.state) / "spool").glob("w[0-9]*"))
    return "ok" if workers else "no worker has a spool folder yet"


async def _queue(socket: Path) -> str:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_unix_connection(str(socket)), 2)
    except (OSError, TimeoutError) as error:
        return f"{socket}: {error}"
    writer.close()
    return "ok"
