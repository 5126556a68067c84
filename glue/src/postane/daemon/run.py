"""The processes as they are started: by systemd (`postane daemon …`) or by a developer (`postane dev`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from postane.config.load import load
from postane.config.model import Config
from postane.daemon import metrics, smtpd
from postane.daemon.sockets import from_systemd
from postane.daemon.supervisor import Job, Pipes, Supervisor
from postane.daemon.wiring import smtp_parts
from postane.filters.registry import check as good_filters
from postane.observe.log import configure
from postane.observe.notify import Notifier
from postane.smtpd.tls import make_context


@dataclass(frozen=True)
class Settings:
    """A file that is read again at each reload, or a configuration that stands fast."""

    path: Path | None = None
    config: Config | None = None

    def read(self) -> Config:
        """Raises ConfigError; a certificate that cannot be loaded is one too."""
        config = self.config or load(self.path or Path("/etc/postane/postane.yml"), good_filters)
        make_context(config.tls)
        return config


def run_smtpd(settings: Settings) -> int:
    """The SMTP service: supervisor and workers."""
    first = settings.read()
    configure(first.log.level, first.log.format, service="smtpd")
    doors = smtpd.open_doors(first, from_systemd(os.environ))

    def jobs() -> Sequence[Job]:
        config = settings.read()
        configure(config.log.level, config.log.format, service="smtpd")
        return smtpd.jobs(config, doors, smtp_parts)

    return _supervise(jobs, first.smtp.drain_timeout + 5, first, "smtpd")


def run_queue(settings: Settings) -> int:
    """The queue: one worker under the same supervisor, so that it too is watched and renewed."""
    first = settings.read()
    configure(first.log.level, first.log.format, service="queue")
    Path(first.runtime).mkdir(parents=True, exist_ok=True)

    def jobs() -> Sequence[Job]:
        config = settings.read()
        configure(config.log.level, config.log.format, service="queue")
        return [_queue(config)]

    return _supervise(jobs, 30.0, first, "queue")


def run_dev(config: Config, on_ready: Callable[[], None]) -> int:
    """Both in one process tree."""
    settings = Settings(config=config)
    configure(config.log.level, config.log.format)
    doors = smtpd.open_doors(settings.read(), {})
    return _supervise(
        lambda: [*smtpd.jobs(config, doors, smtp_parts), _queue(config)],
        config.smtp.drain_timeout + 5,
        config,
        "dev",
        on_ready,
    )


def _queue(config: Config) -> Job:
    def work(pipes: Pipes) -> None:
        # Here, not above: see its module text.
        from postane.daemon import queue_wiring

        queue_wiring.work(config, pipes)

    return Job("queue", work, alone=True)


def _supervise(
    jobs: Callable[[], Sequence[Job]],
    drain_timeout: float,
    config: Config,
    service: str,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    return Supervisor(
        jobs,
        drain_timeout=drain_timeout,
        notifier=Notifier.from_environment(),
        on_ready=on_ready,
        ledger=metrics.Ledger(metrics.folder(config), service),
    ).run()
