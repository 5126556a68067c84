"""`/metrics`: what all processes of the host count, as Prometheus scrapes it. For the host alone, not for the world.

The listener is on loopback; the web server in front of the panel answers 404 itself. Should it ever lead here all the
same, it names the client it speaks for, and gets 404 again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from postane.observe import scrape

_TYPE = "text/plain; version=0.0.4"


def make_metrics(folder: Path) -> HTTPRouteHandler:
    @get("/metrics", include_in_schema=False, sync_to_thread=True)
    def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
            raise NotFoundException
        return Response(scrape.gather(folder).render(), media_type=_TYPE)

    return metrics
