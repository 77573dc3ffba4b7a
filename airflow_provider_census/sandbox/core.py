"""The server that holds the stand-ins, and all public names of the sandbox."""

from __future__ import annotations

import dataclasses
import fnmatch
import socket
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException

from airflow_provider_census.sandbox._api import SandboxApi, Window, get, names
from airflow_provider_census.sandbox._connections import Protocol
from airflow_provider_census.sandbox._faults import Call, Fault, Faults, Gate

__all__ = ["Call", "Fault", "Sandbox", "SandboxApi", "Window", "get", "names"]


class Sandbox:
    """
    A server on this machine that answers like the APIs it stands in for.

    :param apis: the stand-ins to serve; None for all of this package.
    :param port: 0 for a free one.
    """

    def __init__(
        self, apis: Iterable[type[SandboxApi]] | None = None, port: int = 0, *, host: str = "127.0.0.1"
    ) -> None:
        classes = [get(name) for name in names()] if apis is None else list(apis)
        self.ledger: list[Call] = []
        self._apis = {cls.name: cls() for cls in classes}
        self._faults = Faults()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                http=Protocol,
                ws="none",
                lifespan="off",
                # Logging belongs to the process that runs the sandbox.
                log_config=None,
                log_level="warning",
                access_log=False,
            )
        )
        self._thread = threading.Thread(target=self.serve, name="sandbox", daemon=True)

    def url(self, name: str) -> str:
        """Return the ``host`` for a connection to the API ``name``."""
        return f"http://{self.host}:{self.port}/{self[name].name}"

    def connection(self, name: str, **parts: Any) -> dict[str, Any]:
        """
        Return the Airflow connection to the API ``name``, as ``AIRFLOW_CONN_…`` takes it in JSON.

        :param parts: of the connection, set or replaced: ``extra={"region": "eu"}``.
        """
        return {**self[name].connection, "host": self.url(name), **parts}

    def __getitem__(self, name: str) -> Any:
        """Return the stand-in ``name``; its attributes are its state."""
        return self._apis[name]

    def calls(self, api: str, method: str = "*", path: str = "*") -> list[Call]:
        """Return the requests so far; ``method`` and ``path`` are globs."""
        return [
            call
            for call in self.ledger
            if call.api == api and fnmatch.fnmatchcase(call.method, method) and fnmatch.fnmatchcase(call.path, path)
        ]

    def inject(self, fault: Fault) -> None:
        """Let something go wrong."""
        if fault.api not in self._apis:
            raise KeyError(fault.api)
        self._faults.inject(fault)

    def recover(self) -> None:
        """Let nothing go wrong any more; records and requests stay."""
        self._faults.clear()

    def reset(self) -> None:
        """Forget records, requests and faults."""
        for api in self._apis.values():
            api.reset()
        self.ledger.clear()
        self._faults.clear()

    def serve(self) -> None:
        """Serve in this thread until stopped."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the sandbox did not start")
            time.sleep(0.002)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.should_exit = True
        # Delayed answers nobody waits for any more must not hold up the tests.
        self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def _app(self) -> FastAPI:
        app = FastAPI(title="airflow-provider-census sandbox", openapi_url=None)
        app.include_router(self._control())
        for name, api in self._apis.items():
            inner = FastAPI(openapi_url=None)
            # A redirect to the path with or without a slash would hide a wrong path.
            inner.router.redirect_slashes = False
            inner.include_router(api.router())
            app.mount(f"/{name}", Gate(inner, name, self.ledger, self._faults))
        return app

    def _control(self) -> APIRouter:
        """Return the routes by which other processes steer the sandbox."""
        router = APIRouter(prefix="/_sandbox")

        @router.get("/ledger")
        async def ledger(api: str = "*", method: str = "*", path: str = "*") -> list[dict[str, Any]]:
            apis = fnmatch.filter(self._apis, api)
            return [dataclasses.asdict(call) for name in apis for call in self.calls(name, method, path)]

        @router.post("/faults")
        async def faults(fault: dict[str, Any]) -> dict[str, Any]:
            try:
                armed = Fault(**fault)
                self.inject(armed)
            except TypeError as error:
                raise HTTPException(422, str(error)) from None
            except KeyError as error:
                raise HTTPException(422, f"no API {error}; valid: {', '.join(self._apis)}") from None
            return dataclasses.asdict(armed)

        @router.post("/reset")
        async def reset() -> dict[str, bool]:
            self.reset()
            return {"ok": True}

        @router.get("/state/{api}")
        async def state(api: str) -> Any:
            if api not in self._apis:
                raise HTTPException(404, f"no API {api!r}; valid: {', '.join(self._apis)}")
            return self._apis[api].state()

        return router
