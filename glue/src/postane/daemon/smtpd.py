"""One SMTP worker: directory, filters, spool and doors put together, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from postane.config.model import Config
from postane.core.peer import Service
from postane.core.ports import Directory, Filters
from postane.daemon.child import Stop, run
from postane.daemon.metrics import Showing, folder
from postane.daemon.sockets import Doors, open_listener
from postane.daemon.supervisor import Job, Pipes
from postane.daemon.watchdog import Watchdog
from postane.observe.metrics import Metrics
from postane.observe.tasks import Tasks
from postane.smtpd.dialogue import Facts
from postane.smtpd.handler import MailHandler, Signer
from postane.smtpd.limits import Counts, Sessions
from postane.smtpd.server import Door
from postane.smtpd.tls import make_context
from postane.spool.writer import SpoolWriter

log = structlog.get_logger("smtpd")

_SWEEP = 5.0  # seconds between looks for silent peers
_FINISH = 2.0  # seconds that sessions in full swing have at a stop, before the end of a transaction is their end
_QUIET = 0.25  # a session that has done nothing for so long is not in full swing


class Parts:
    """What a worker asks beside its own spool; made after the fork, one set a process."""

    def __init__(self, directory: Directory, filters: Filters, signer: Signer | None) -> None:
        self.directory = directory
        self.filters = filters
        self.signer = signer


def open_doors(config: Config, handed: Doors) -> Doors:
    """The listening sockets of the three services: those of systemd where it handed any, else those configured."""
    if any(service.value in handed for service in Service):
        return {service.value: handed.get(service.value, []) for service in Service}
    listen = config.smtp.listen
    return {
        Service.SMTP.value: [open_listener(a) for a in listen.smtp],
        Service.SUBMISSION.value: [open_listener(a) for a in listen.submission],
        Service.SUBMISSIONS.value: [open_listener(a) for a in listen.submissions] if config.tls.certificate else [],
    }


MakeParts = Callable[[Config, Metrics], Parts]


def jobs(config: Config, doors: Doors, make_parts: MakeParts) -> list[Job]:
    """As many workers as configured (0: as many as cores)."""
    count = config.smtp.workers or os.cpu_count() or 1

    counts = Counts(count)  # before the fork: all workers see it

    def job(number: int) -> Job:
        def work(pipes: Pipes) -> None:
            _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            sessions = Sessions(config.smtp.limits, counts, number)
            run(pipes, lambda stop: serve(config, doors, make_parts, sessions, f"smtpd-{number}", stop))

        return Job(f"smtpd-{number}", work)

    return [job(number) for number in range(count)]


async def serve(config: Config, doors: Doors, make_parts: MakeParts, sessions: Sessions, name: str, stop: Stop) -> None:
    """Accepts until `stop`, then lets open transactions end within the drain time."""
    spool = SpoolWriter(Path(config.state) / "spool", config.spool)
    tls = make_context(config.tls, Path(config.state))
    metrics = Metrics()
    parts = make_parts(config, metrics)
    handler = MailHandler(
        config.smtp,
        parts.directory,
        parts.filters,
        spool,
        parts.signer,
        time.time,
        tls_offered=tls is not None,
    )
    loop = asyncio.get_running_loop()
    open_doors: list[Door] = []
    servers: list[asyncio.Server] = []
    for service in Service:
        facts = Facts(config.host, service, tls_offered=tls is not None)
        for listening in doors[service.value]:
            door = Door(facts, config.smtp.limits, handler, sessions, tls)
            open_doors.append(door)
            # A descriptor of its own: closing it at the end leaves the shared one open for the other workers.
            own = listening.dup()
            servers.append(await loop.create_server(door, sock=own, backlog=4096))
    stop.ready()
    _watch(metrics, open_doors, sessions, spool)
    helpers = Tasks()
    helpers.start("sweep", _sweep(open_doors))
    helpers.start("watchdog", Watchdog(metrics).run())
    helpers.start("metrics", Showing(folder(config), name, metrics).run())
    await stop.wait()

    for server in servers:
        server.close()
    if stop.retires:
        await _retire(config.smtp.retire_timeout, sessions, stop)
    await _finish(open_doors, sessions)
    for door in open_doors:
        door.drain()
    if not await sessions.drained(config.smtp.drain_timeout):
        log.warning("drain_cut", sessions=sessions.open)
    await parts.filters.close()
    await spool.close()
    await helpers.close()


def _watch(metrics: Metrics, doors: list[Door], sessions: Sessions, spool: SpoolWriter) -> None:
    """What a worker knows anyway, asked when it is read; and what each door counts."""
    accepted = metrics.tally("postane_messages_accepted", "Messages that got their 250", "door")
    text = "Answers of 4xx and 5xx to what was said"
    refused = metrics.tally("postane_refusals", text, "door", "at", "code", "status")
    for door in doors:
        door.accepted, door.refused = accepted, refused

    def look() -> None:
        metrics.gauge("postane_sessions_open", "Open SMTP sessions", sessions.open)
        metrics.total("postane_sessions", "SMTP sessions that were let in", sessions.entered)
        metrics.total("postane_sessions_refused", "Connections over a limit, told 421", sessions.refused)
        metrics.total("postane_spool_syncs", "Syncs of the spool to the disk", spool.syncs)

    metrics.watch(look)


async def _retire(seconds: float, sessions: Sessions, stop: Stop) -> None:
    """Successors take what is new: the sessions here come to their own ends, unless that takes too long."""
    end = time.monotonic() + seconds
    while sessions.open and time.monotonic() < end and await stop.respite(0.1):
        pass


async def _finish(doors: list[Door], sessions: Sessions) -> None:
    """Ends sessions as they fall quiet: one that is about to say its next word is not cut short."""
    end = time.monotonic() + _FINISH
    while sessions.open and time.monotonic() < end:
        before = {server: server.deadline for door in doors for server in door.servers}
        await asyncio.sleep(_QUIET)
        for server, deadline in before.items():
            if server.deadline == deadline:  # it moves with each word
                server.drain()


async def _sweep(doors: list[Door]) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        now = time.monotonic()
        for door in doors:
            door.sweep(now)
