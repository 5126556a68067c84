"""The part of Cloudflare's API that octoDNS's provider asks, on loopback: a call for each record, rights, bounds.

It stands in for a service that cannot run here; the client that speaks to it is the real one.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "cf-Zq7-not-for-logs"
READ_ONLY = "cf-read-only-token"
LEAST_TTL = 120


@dataclass
class Cloudflare:
    """`zones` are names with their records as the API writes them. What can be set makes it behave badly."""

    url: str = ""
    zones: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    silent: bool = False  # takes the question, gives no answer
    broken: bool = False  # 503
    writes_left: int | None = None  # then 400
    longest_text: int = 0
    bursts: int = 0  # this many answers of 429 first
    number: int = 0

    def add(self, zone: str, kind: str, content: str, name: str = "", **more: Any) -> None:
        self.number += 1
        record = {"id": f"r{self.number}", "type": kind, "name": name or zone, "content": content, "ttl": 300, **more}
        self.zones.setdefault(zone, {})[record["id"]] = record

    def writes(self) -> list[tuple[str, str]]:
        return [one for one in self.calls if one[0] != "GET"]


@contextlib.contextmanager
def cloudflare() -> Iterator[Cloudflare]:
    state = Cloudflare()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/client/v4"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Refused(Exception):  # noqa: N818
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _handler(state: Cloudflare) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            split = urlsplit(self.path)
            path = split.path.removeprefix("/client/v4")
            with lock:
                state.calls.append((self.command, path))
                try:
                    _judge(state, self.command, self.headers.get("Authorization", ""))
                    query = {key: values[0] for key, values in parse_qs(split.query).items()}
                    status, said = 200, _do(state, self.command, path, query, json.loads(body or b"{}"))
                except Refused as refused:
                    status, said = refused.status, {"errors": [{"message": str(refused)}], "success": False}
            if state.silent:
                time.sleep(30)
            encoded = json.dumps(said).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    return Handler


def _judge(state: Cloudflare, method: str, authorization: str) -> None:
    if state.broken:
        raise Refused(503, "out of order")
    if state.bursts:
        state.bursts -= 1
        raise Refused(429, "rate limited")
    token = authorization.removeprefix("Bearer ")
    if token not in (TOKEN, READ_ONLY):
        raise Refused(403, "Invalid API Token")
    if method != "GET":
        if token == READ_ONLY:
            raise Refused(403, "Unauthorized to access requested resource")
        if state.writes_left is not None:
            if state.writes_left <= 0:
                raise Refused(400, "DNS Validation Error")
            state.writes_left -= 1


def _do(state: Cloudflare, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
    parts = path.strip("/").split("/")
    if parts == ["zones"]:
        return _page([{"id": one, "name": one, "name_servers": ["ns.cloudflare.test"]} for one in state.zones], query)
    zone = parts[1]
    records = state.zones[zone]
    if method == "GET":
        return _page(list(records.values()), query)
    if method == "DELETE":
        return {"result": records.pop(parts[3])}
    content = str(body.get("content", ""))
    if body["type"] in ("CNAME", "MX"):
        content = content.rstrip(".") or "."
    if body["type"] == "TXT" and state.longest_text and len(content.strip('"')) > state.longest_text:
        raise Refused(400, "Content for TXT record is too long")
    state.number += method == "POST"
    key = f"r{state.number}" if method == "POST" else parts[3]
    data = dict(body.get("data", {}))
    if body["type"] == "SRV":
        data["target"] = data["target"].rstrip(".") or "."
    records[key] = {**body, "id": key, "content": content, "data": data, "ttl": max(LEAST_TTL, body["ttl"])}
    return {"result": records[key]}


def _page(found: list[Any], query: dict[str, str]) -> dict[str, Any]:
    each, number = int(query["per_page"]), int(query["page"])
    shown = found[(number - 1) * each : number * each]
    return {"result": shown, "result_info": {"count": len(shown), "per_page": each, "page": number}}
