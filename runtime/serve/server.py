"""Runs the application until a signal ends it."""

import socket

import uvicorn

from sa.runtime.errors import InputError
from sa.runtime.serve.config import Config
from sa.runtime.serve.http.app import make_app
from sa.runtime.serve.service import Service
from sa.runtime.system import signals

CLOSING_SECONDS = 2  # for answers under way when the server ends
IDLE_SECONDS = 15  # that an unused connection stays open
CONNECTIONS = 1000


class Server:
    def __init__(self, config: Config):
        """InputError for an address or folder that cannot be had, EngineSetError for engines that cannot be used."""
        self._service = Service(config)
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        try:
            self._socket = socket.create_server((config.host, config.port), family=family)
        except OSError as error:
            self._service.close()
            raise InputError(
                f"--host {config.host} --port {config.port} cannot be had ({error.strerror}): give others."
            ) from None
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.address = f"http://{host}:{self._socket.getsockname()[1]}/"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        options = uvicorn.Config(
            make_app(self._service),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=CLOSING_SECONDS,
            limit_concurrency=CONNECTIONS,
        )
        server = uvicorn.Server(options)

        def again(number: int, frame: object) -> None:
            # uvicorn ends in order on a signal, and then raises the signal once more.
            if not server.should_exit:
                raise KeyboardInterrupt

        with self._socket, signals.handled(again):
            server.run(sockets=[self._socket])
