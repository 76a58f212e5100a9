"""Guard in front of the server: who may ask, and how much a request may send."""

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fibrolab.errors import ConfigError

TOKEN = "FIBROLAB_TOKEN"  # environment variable
SHORTEST = 16  # characters of a token
MIB = 2**20
# Paths without an answer in them: the page itself, which asks for the token, and the sign of life.
OPEN_PATHS = ("/", "/page.js", "/page.css", "/health")
SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check(host: str, token: str) -> None:
    """Refuse an address that other machines reach without a token, and a token that can be guessed.

    Raises:
        ConfigError: There is no token, it is too short, or no header can carry it.
    """
    if not token and not is_loopback(host):
        raise ConfigError(
            f"host={host} can be reached from other machines: set the environment variable {TOKEN} to a "
            f"secret of at least {SHORTEST} characters, or keep host=127.0.0.1."
        )
    if token and len(token) < SHORTEST:
        raise ConfigError(f"{TOKEN} has {len(token)} characters: give at least {SHORTEST}.")
    if token != token.strip() or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"{TOKEN} has blanks or a line break around it, or letters beyond ASCII, which a request cannot "
            "give: choose another one."
        )


@dataclass(frozen=True)
class Guard:
    """Refuse a request without the token, of another page, or larger than allowed, while it arrives.

    Without a token, only names of this machine are accepted as the server's (a page elsewhere could otherwise
    give itself the address 127.0.0.1), and only requests of the server's own page.

    Attributes:
        app: The server behind it.
        host: Address at which it answers.
        token: Secret that a request must give; empty for none.
        megabytes: Largest size of a request [MiB].
    """

    app: ASGIApp
    host: str
    token: str
    megabytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason for its refusal."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in SAFE.items()]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        headers = Headers(scope=scope)
        if found := self._refusal(scope["path"], headers):
            status, reason = found
            challenge = {"www-authenticate": "Bearer"} if status == 401 else None
            answer = JSONResponse({"detail": reason}, status, challenge)
            await answer(scope, receive, with_headers)
            return
        await self.app(scope, self._limited(receive), with_headers)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        """Return status and reason if a request is refused by its headers."""
        host = headers.get("host", "")
        if not self.token:
            name = (urlsplit(f"//{host}").hostname or "") if _is_address(host) else ""
            if not is_loopback(name) and name != self.host:
                return 403, "The server answers under the names of this machine only, such as 127.0.0.1."
            origin = headers.get("origin")
            if origin and urlsplit(origin).netloc != host:
                return 403, "The request comes from a page of another server."
        elif path not in OPEN_PATHS and not self._is_known(headers.get("authorization", "")):
            return 401, "The server asks for its token: give the header Authorization: Bearer TOKEN."
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.megabytes * MIB:
            return 413, self._too_large
        return None

    def _is_known(self, given: str) -> bool:
        kind, _, secret = given.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(secret.strip().encode(), self.token.encode())

    @property
    def _too_large(self) -> str:
        return (
            f"A request may have {self.megabytes} MiB: send fewer files at once, cut a film to the seconds "
            "that are needed, or start the server with a larger limits.megabytes."
        )

    def _limited(self, receive: Receive) -> Receive:
        """Return a reader of a request that stops at the limit, whatever size the request states."""
        seen = 0

        async def read() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.megabytes * MIB:
                raise HTTPException(413, self._too_large)
            return message

        return read


def _is_address(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname is not None
    except ValueError:
        return False
