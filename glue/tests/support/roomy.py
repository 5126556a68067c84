"""`postane dev` with other limits than a developer may ask for: `python roomy.py LIMITS-AS-JSON postane dev …`."""

from __future__ import annotations

import json
import sys

import msgspec

from postane.admin import dev
from postane.admin.dev import Plan, prepare
from postane.cli.main import main
from postane.config.model import Config


def _prepare(plan: Plan) -> Config:
    config = prepare(plan)
    limits = msgspec.structs.replace(config.smtp.limits, **json.loads(sys.argv[1]))
    return msgspec.structs.replace(config, smtp=msgspec.structs.replace(config.smtp, limits=limits))


if __name__ == "__main__":
    dev.prepare = _prepare
    main(sys.argv[3:])
