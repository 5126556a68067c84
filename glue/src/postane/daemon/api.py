"""The API process: the web application on uvicorn, on systemd's socket or its own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import uvicorn

from postane.admin.site import Site
from postane.config.load import load
from postane.daemon.child import Stop, run
from postane.daemon.metrics import Ledger, Showing, folder
from postane.daemon.sockets import from_systemd, open_listener
from postane.daemon.supervisor import Job, Pipes, Supervisor
from postane.observe.log import configure
from postane.observe.metrics import Metrics
from postane.observe.notify import Notifier
from postane.observe.tasks import Tasks
from postane.tls import summary
from postane.web.app import make_app


def run_api(path: Path) -> int:
    first = load(path)
    configure(first.log.level, first.log.format, service="api")
    handed = from_systemd(os.environ)
    sockets = [one for some in handed.values() for one in some] or [open_listener(first.api.listen)]

    async def serve(stop: Stop) -> None:
        app = make_app(Site(load(path)))
        settings = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", server_header=False)
        server = uvicorn.Server(settings)
        # The frame of the process has the signals; uvicorn is told by its flag.
        server.capture_signals = _no_signals  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve(sockets=[one.dup() for one in sockets]), name="uvicorn")
        helpers = Tasks()
        metrics = Metrics()
        summary.watch(metrics, Path(first.state), first.certificates.ending_days)
        helpers.start("metrics", Showing(folder(first), "api", metrics).run())
        stop.ready()
        await stop.wait()
        server.should_exit = True
        await serving
        await helpers.close()

    def work(pipes: Pipes) -> None:
        run(pipes, serve)

    return Supervisor(
        lambda: [Job("api", work, alone=True)],
        drain_timeout=20.0,
        notifier=Notifier.from_environment(),
        ledger=Ledger(folder(first), "api"),
    ).run()


class _no_signals:  # noqa: N801 (stands for a context manager function)
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
