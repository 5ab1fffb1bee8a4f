"""The application: routes from requests to predictions, and the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from mien import __version__
from mien.predict.predictor import Predictor
from mien.serve import schema
from mien.serve.batching import Answer, Batcher
from mien.serve.guard import LOOPBACK, Guard
from mien.serve.limits import Limits, Room
from mien.serve.metrics import Metrics
from mien.serve.pages import add_files
from mien.serve.problem import Problem, declared, on_error
from mien.serve.upload import Gone, Upload, read_upload

_DESCRIPTION = """How people would perceive the expressions of the faces in photos, with what cannot be ruled out.
Nobody's feelings are told. Pictures are held in memory until they are answered, and nothing is kept."""


def make_app(
    predictor: Predictor,
    *,
    name: str = "default",
    limits: Limits | None = None,
    threads: int = 1,
    token: str | None = None,
    hosts: Collection[str] = LOOPBACK,
) -> Guard:
    """Returns the server as an ASGI application.

    Args:
        predictor: What answers.
        name: What the model is called.
        limits: What is refused; null takes the defaults.
        threads: Requests that are answered side by side; the rest wait.
        token: What clients must show; null lets all in.
        hosts: Names by which the server may be called, so that no other site's name can be made to point here.
    """
    service = _Service(predictor, name, limits or Limits(), threads)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        service.batcher.stop()

    app = FastAPI(
        title="mien",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        exception_handlers={
            Gone: _nobody,
            **dict.fromkeys((Problem, HTTPException, RequestValidationError, Exception), on_error),
        },
    )
    _add_api(app, service, needs_token=token is not None)
    add_files(app, {"/": "page/index.html"} | {f"/{name}": f"page/{name}" for name in ("page.css", "elements.js", "page.js")})
    return Guard(app, hosts=hosts, token=token, metrics=service.metrics)


def _add_api(app: FastAPI, service: _Service, *, needs_token: bool) -> None:
    """Adds the routes for programs, each with all that it may answer."""
    always = declared(403, 421)
    guarded = declared(401, 403, 421) if needs_token else always
    security = [Depends(HTTPBearer(auto_error=False, description="The server's MIEN_TOKEN."))] if needs_token else []
    app.add_api_route(
        "/v1/predict",
        service.predict,
        methods=["POST"],
        summary="Predict",
        description="What people would see in the faces of photos.",
        responses={
            200: schema.answer(service.config, service.name),
            **declared(400, 408, 413, 415, 422, 429, 503),
            **guarded,
        },
        openapi_extra={"requestBody": schema.REQUEST_BODY},
        dependencies=security,
    )
    text = {"description": "Counts in Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    for path, route, summary, answer in (
        ("/v1/models", service.models, "Models", schema.models(service.facts)),
        ("/metrics", service.counts, "Metrics", text),
    ):
        app.add_api_route(
            path,
            route,
            summary=summary,
            response_class=Response,
            responses={200: answer, **guarded},
            dependencies=security,
        )
    app.add_api_route("/healthz", service.health, summary="The process lives", responses=always)
    app.add_api_route("/readyz", service.ready, summary="There is a place for a request", responses={**declared(503), **always})


class _Service:
    """What the routes share."""

    def __init__(self, predictor: Predictor, name: str, limits: Limits, threads: int) -> None:
        self.name, self.limits, self.config = name, limits, predictor.config
        self.room, self.metrics = Room(limits.places), Metrics()
        self.batcher = Batcher(predictor, limits, threads)

    @property
    def facts(self) -> dict[str, Any]:
        """What the model says of itself."""
        config = self.config
        facts = {"name": self.name, "classes": list(config.classes), "image_size": config.image_size}
        facts |= {"level": config.level, "source": config.source, "licence": config.licence}
        return {"models": [facts]}

    async def predict(self, request: Request, cropped: bool = False, largest: bool = False) -> Response:
        """Returns the rows of all faces in the pictures of a form."""
        started = monotonic()
        with self.room.place():
            upload = await read_upload(request, self.limits)
            answer = await self._answer(request, upload, cropped, largest)
        if answer.problem is not None:
            raise Problem(422, answer.problem)
        self.metrics.answered(answer.num_faces, monotonic() - started)
        # The rows are text already: what `mien predict --json` prints.
        head = json.dumps({"model": self.name, "level": self.config.level})[:-1]
        return Response(f'{head}, "predictions": [{", ".join(answer.lines)}]}}', media_type="application/json")

    async def _answer(self, request: Request, upload: Upload, cropped: bool, largest: bool) -> Answer:
        """Returns the answer, unless it takes too long or nobody is there any more to hear it."""
        work = asyncio.ensure_future(self.batcher.ask(upload, cropped=cropped, largest=largest))
        leaving = asyncio.ensure_future(_leaves(request))
        try:
            await asyncio.wait({work, leaving}, timeout=self.limits.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if leaving.done():
                raise Gone
            detail = (
                f"There was no answer after {self.limits.timeout_s:g} s. Send fewer or smaller pictures, or try again later."
            )
            raise Problem(503, detail, headers={"Retry-After": "10"})
        finally:
            work.cancel()
            leaving.cancel()

    async def models(self) -> Response:
        """Returns what the model says of itself."""
        return Response(json.dumps(self.facts), media_type="application/json")

    async def health(self) -> dict[str, str]:
        """Returns that the process lives."""
        return {"status": "alive"}

    async def ready(self) -> dict[str, str]:
        """Returns whether a request would find a place and somebody to answer it."""
        if self.room.full or not self.batcher.alive:
            raise Problem(503, "All places are taken. Try again in a second.", headers={"Retry-After": "1"})
        return {"status": "ready"}

    async def counts(self) -> Response:
        """Returns the metrics."""
        room = self.room
        text = self.metrics.to_text(calls=self.batcher.num_calls, taken=room.taken, places=room.places)
        return Response(text, media_type="text/plain; version=0.0.4")


async def _leaves(request: Request) -> None:
    """Returns when the client closes the connection; to be awaited once the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _nobody(_: Request, __: Exception) -> Response:
    """Returns what is not sent, since the client has left; 499 is how nginx counts it."""
    return Response(status_code=499)
