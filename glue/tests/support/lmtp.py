"""A scripted LMTP server on a unix socket: says what the test tells it to, and remembers what it was told."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path


class LmtpServer:
    """`rcpt` and `final` are replies by address; `script` replaces the reply to a command ("MAIL": "451 …").

    A reply of "close" closes the connection instead, "silence" says nothing more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.greeting = "220 lmtp.test ready"
        self.rcpt: dict[str, str] = {}
        self.final: dict[str, str] = {}
        self.script: dict[str, str] = {}
        self.received: list[tuple[str, list[str], bytes]] = []
        self.commands: list[str] = []
        self.connections = 0
        self.delay = 0.0
        self.refuses_utf8 = False
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Closes all connections, as a restart of the server does."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _say(self, writer: asyncio.StreamWriter, text: str) -> bool:
        if text == "close":
            return False
        if text == "silence":
            await asyncio.sleep(3600)
        await asyncio.sleep(self.delay)
        writer.write(text.replace("\n", "\r\n").encode() + b"\r\n")
        await writer.drain()
        return True

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, self.greeting):
            return
        sender, accepted, begun = "", list[str](), False
        while line := await reader.readline():
            command = line.decode().rstrip("\r\n")
            self.commands.append(command)
            verb = command.split(" ")[0].upper()
            if verb in self.script:
                if not await self._say(writer, self.script[verb]):
                    return
                continue
            reply = "250 2.0.0 ok"
            if verb == "LHLO":
                reply = "250-lmtp.test\n250-PIPELINING\n250 ENHANCEDSTATUSCODES"
            elif verb == "MAIL":
                sender, accepted, begun = _path(command), [], command.isascii() or not self.refuses_utf8
                reply = reply if begun else "501 5.5.4 Invalid FROM"
            elif not begun and verb in ("RCPT", "DATA"):
                reply = "503 5.5.1 MAIL needed first"
            elif verb == "RCPT":
                reply = self.rcpt.get(_path(command), "250 2.1.5 ok")
                if reply.startswith("250"):
                    accepted.append(_path(command))
            elif verb == "DATA":
                reply = "354 go" if accepted else "503 5.5.1 no recipients"
            if not await self._say(writer, reply):
                return
            if reply.startswith("354"):
                text = await _data(reader)
                self.received.append((sender, accepted, text))
                for address in accepted:
                    if not await self._say(writer, self.final.get(address, "250 2.0.0 saved")):
                        return


async def _data(reader: asyncio.StreamReader) -> bytes:
    lines: list[bytes] = []
    while (line := await reader.readline()) != b".\r\n":
        if not line:
            raise ConnectionResetError
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)


def _path(command: str) -> str:
    found = re.search(r"<(.*?)>", command)
    return found[1] if found else ""
