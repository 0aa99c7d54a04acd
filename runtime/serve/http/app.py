"""The application: routes, errors, guard, and the page."""

import contextlib
from collections.abc import AsyncIterator
from importlib import metadata, resources

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from sa.runtime import PROJECT
from sa.runtime.serve.http import about, events, files, videos
from sa.runtime.serve.http.guard import Guard
from sa.runtime.serve.http.problems import handle_problems
from sa.runtime.serve.service import Service

PAGE = resources.files("sa.runtime.serve") / "page"
DESCRIPTION = """\
A job animates the person of a photo. Send a photo and a driving video, or a case that sa-prepare made, to
`POST /v1/videos`. Follow the job with `GET /v1/videos/{id}/events`, and take the result from
`GET /v1/videos/{id}/content`. Every error is one sentence: `{"error": {"message": ..., "type": ..., "param": ...}}`.
"""


def make_app(service: Service) -> ASGIApp:
    """The server's application. Its lifespan starts and stops the service's processes."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="sa-serve",
        version=metadata.version(PROJECT),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
    )
    for routes in (videos, files, events, about):
        app.include_router(routes.router(service))
    handle_problems(app)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(str(PAGE / "index.html"))

    app.mount("/page", StaticFiles(directory=str(PAGE)))
    _describe(app, with_token=service.config.token is not None)
    return Guard(app, service.config)


def _describe(app: FastAPI, with_token: bool) -> None:
    """Complete the API's description by what FastAPI cannot see: the settings in a multipart body, and the token."""
    made = app.openapi

    def openapi() -> dict:
        if app.openapi_schema is None:
            schema = made()
            schemas = schema["components"]["schemas"]
            settings = videos.settings_schema()
            schemas |= settings.pop("$defs", {}) | {"VideoSettings": settings}
            if with_token:
                schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"token": []}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
