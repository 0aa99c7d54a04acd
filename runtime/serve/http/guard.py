"""Who may ask, from where, and the headers of every answer."""

import hmac
import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sa.runtime.serve.config import Config
from sa.runtime.serve.http.problems import problem_response

OPEN = ("/", "/health/live", "/health/ready")  # without a token, beside the page's files
PAGE = "/page/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Around the whole application. Nothing of a request's body is read before it may pass."""

    def __init__(self, app: ASGIApp, config: Config):
        self._app, self._config = app, config
        self._token = config.token.encode() if config.token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refusal(scope["path"], headers)
        if refused is None:
            return await self._app(scope, receive, send_with_headers)
        status, type, message = refused
        extra = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await problem_response(status, type, message, headers=extra)(scope, receive, send_with_headers)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        # Else a page of another site could reach a server on the visitor's own machine, by a name that points here.
        if not self._is_own(host):
            return 403, "forbidden", "this server is not known by that host name: start it with --name to allow it."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "forbidden", "requests from pages of other sites are refused."
        if self._token is None or path in OPEN or path.startswith(PAGE):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return None
        return 401, "unauthorized", "a token is needed: send the header Authorization: Bearer TOKEN."

    def _is_own(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() in ("localhost", self._config.host.lower(), *map(str.lower, self._config.names)):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True
