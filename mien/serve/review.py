"""Review: the page on which people look again at doubtful labels, for one reviewer on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from mien.audit.decisions import read
from mien.audit.doubts import KINDS
from mien.audit.export import read_audit
from mien.audit.review import Review, State
from mien.audit.run import beside
from mien.data.table import SampleTable
from mien.errors import MienError, RunError
from mien.log import say
from mien.predict.predictions import Predictions
from mien.serve.address import answer_at, listen
from mien.serve.guard import LOOPBACK, Guard
from mien.serve.limits import Limits
from mien.serve.metrics import Metrics
from mien.serve.pages import add_files
from mien.serve.problem import Problem, on_error, problem_response

_TEMPLATES = Path(__file__).parent / "review_page"
_KEYS = "1234567890"  # of the classes; further ones, and answers that are no class, get letters
_LETTERS = "qwertyioasdfhjklvb"  # without those of other actions: u, x, z, n, p, m, g, c
_AT_ONCE = 500  # faces of one answer; not stated; ours
_FIRST = 80  # faces that come with the list, so that the first view waits for one answer; not stated; ours
_MAX_BYTES = 100_000  # of a decision; not stated; ours

_T = TypeVar("_T")


class _Choice(BaseModel):
    """What the page sends of one face."""

    sample: str = Field(max_length=1000)
    to: list[str] = Field(default=[], max_length=100)
    how: Literal["sure", "unsure", "skip"] = "sure"
    why: str = Field(default="", max_length=2000)


def make_review_app(review: Review) -> Guard:
    """Returns the page and what it asks for as an ASGI application."""
    lock = Lock()

    def alone(call: Callable[[], _T]) -> _T:
        """Returns what a call on the review returns, while no other is under way."""
        with lock:
            return call()

    app = FastAPI(
        title="mien review",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={
            MienError: _refuse,
            **dict.fromkeys((Problem, HTTPException, RequestValidationError, Exception), on_error),
        },
    )

    @app.get("/")
    def page() -> Response:
        return Response(alone(partial(_page, review)), media_type="text/html")

    names = ("page/page.css", "page/elements.js", "review_page/review.css", "review_page/review.js")
    add_files(app, {f"/{name.partition('/')[2]}": name for name in names})

    @app.get("/list")
    def listed(
        doubt: str = "", label: str = "", split: str = "", below: float = 1.0, state: State = "open", by: str = "score"
    ) -> dict[str, Any]:
        rows = alone(partial(review.listed, doubt=doubt, label=label, split=split, below=below, state=state, by=by))
        return {"rows": rows, "faces": alone(partial(review.faces, rows[:_FIRST])), **alone(review.counts)}

    @app.get("/faces")
    def faces(rows: str = Query(pattern=r"^\d{1,9}(,\d{1,9})*$")) -> list[dict[str, Any]]:
        return alone(partial(review.faces, [int(row) for row in rows.split(",")[:_AT_ONCE]]))

    @app.get("/face/{row}")
    def face(row: int, model: bool = False) -> dict[str, Any]:
        return alone(partial(review.face, row, model=model))

    @app.post("/decide", dependencies=[Depends(_from_this_page)])
    def decide(choice: _Choice) -> dict[str, Any]:
        state = alone(partial(review.decide, choice.sample, choice.to, choice.how, choice.why))
        return {"face": state, **alone(review.counts)}

    @app.post("/undo", dependencies=[Depends(_from_this_page)])
    def undo() -> dict[str, Any]:
        return {"face": alone(review.undo), **alone(review.counts)}

    return Guard(app, hosts=LOOPBACK, token=None, metrics=Metrics(), max_bytes=_MAX_BYTES)


async def _refuse(request: Request, error: Exception) -> Response:
    """Returns the response to what the review refuses; 507: it could not be kept."""
    status = 507 if isinstance(error, RunError) else 422
    return problem_response(Problem(status, str(error)), request.scope["request_id"])


def _from_this_page(request: Request) -> None:
    """Refuses what another site's page sends."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    if origin not in (None, f"http://{request.headers['host']}") or site not in ("same-origin", "none"):
        raise Problem(403, "Another site's page sent this. Decide on the review page itself.")


def keys_of(review: Review) -> dict[str, str]:
    """Returns the key of each answer; the empty text where keys have run out."""
    num_classes = len(review.table.classes)
    free = iter(_LETTERS)
    keys = [_KEYS[place] if place < min(num_classes, len(_KEYS)) else next(free, "") for place in range(len(review.answers))]
    return dict(zip(review.answers, keys, strict=True))


def _page(review: Review) -> str:
    """Returns the page with the filters that this audit has something for."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    counts = {score: int(doubtful.sum()) for score, doubtful in review.doubts.items()}
    return environment.get_template("index.html.j2").render(
        who=review.who,
        notes=review.notes,
        keys=keys_of(review),
        classes=review.table.classes,
        doubts=[(kind.score, kind.title, counts[kind.score]) for kind in KINDS if counts.get(kind.score)],
        labels=[name for name in review.table.classes if name in review.labels],
        splits=sorted({str(name) for name in review.table.splits if name is not None}),
        scores=list(review.scores),
        has_model=review.probs is not None,
    )


def review(
    table: Path,
    scores: Path,
    decisions: Path,
    *,
    reviewer: str,
    predictions: Path | None = None,
    port: int = 8001,
    tell: Callable[[str], None] = say,
) -> None:
    """Answers on this machine alone until the process is told to stop.

    Args:
        table: Faces.
        scores: FOLDER/audit.parquet of `mien audit run`.
        decisions: File that decisions are added to; others may do so at the same time.
        reviewer: Who decides.
        predictions: Of these faces, for those who ask to see them.
        port: To listen at; 0 takes a free one.
        tell: Called with the address once it answers, and before with what is wrong with the files.

    Raises:
        RunError: If the address cannot be had.
        TableError: If the table and the audit share no face.
    """
    with listen("127.0.0.1", port) as listener:
        rows = SampleTable.read(table)
        probs = None if predictions is None else _probs(rows, Predictions.read(predictions))
        shown = Review(rows, read_audit(scores), decisions, reviewer, probs)
        problems = read(decisions)[1] if decisions.is_file() else []
        for sentence in (*shown.notes, *problems):
            tell(f"mien: {sentence}")
        ready = f"http://127.0.0.1:{listener.getsockname()[1]} shows the faces to {shown.who}; stop with Ctrl-C"
        answer_at(listener, make_review_app(shown), ready, timeout_s=Limits().timeout_s, tell=tell)


def _probs(table: SampleTable, predictions: Predictions) -> np.ndarray:
    """Returns (N, K) probabilities in the order of the table, NaN where there are none."""
    some, probs = beside(table, predictions)
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    found = np.full((len(table), len(table.classes)), np.nan)
    found[[row_of[sample] for sample in some.samples]] = probs
    return found
