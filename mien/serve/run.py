"""Run: a model and an address become a server that answers until it is stopped."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from ipaddress import ip_address

from mien.errors import RecipeError
from mien.faces.detect import MTCNN
from mien.predict.predictor import Predictor
from mien.serve.address import answer_at, in_url, listen
from mien.serve.app import make_app
from mien.serve.guard import LOOPBACK
from mien.serve.limits import Limits

TOKEN = "MIEN_TOKEN"
_MIN_TOKEN = 16  # characters; not stated; ours: what nobody guesses within the life of a server
_SWITCH_S = 0.001  # how long one thread may make another wait for Python; its default, 0.005, holds up short answers


def serve(
    model: str = "default",
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_host: Sequence[str] = (),
    min_face: int = 40,
    class_conditional: bool = False,
    threads: int | None = None,
    limits: Limits | None = None,
) -> None:
    """Answers requests until the process is told to stop.

    Args:
        model: What `resolve_model` takes.
        host: Address to listen at; one that other machines can reach needs a token in MIEN_TOKEN.
        port: To listen at; 0 takes a free one.
        allow_host: Further names by which clients may call the server.
        min_face: Smallest side of a face that is searched, in pixels.
        class_conditional: Label sets cover each class's own answers.
        threads: Requests that are answered side by side; null: as many as there are cores.
        limits: What is refused.

    Raises:
        RecipeError: If the token is missing or short.
        RunError: If the address cannot be had.
        WeightsError: If there is no such model.
    """
    token = os.environ.get(TOKEN) or None
    _check_token(token, host)
    with listen(host, port) as listener:  # before the model is loaded: a port in use is known at once
        # One thread of ONNX Runtime for each of ours: cores are kept busy by requests, not by parts of one.
        predictor = Predictor.load(model, threads=1, detector=MTCNN(min_face=min_face), class_conditional=class_conditional)
        name = model if re.fullmatch(r"default|[\w.-]+/[\w.-]+(@\S+)?", model) else os.path.basename(os.path.abspath(model))
        hosts = LOOPBACK | {in_url(one.lower()) for one in (host, *allow_host)}
        app = make_app(predictor, name=name, limits=limits, threads=threads or os.cpu_count() or 1, token=token, hosts=hosts)
        sys.setswitchinterval(_SWITCH_S)
        ready = f"http://{in_url(host)}:{listener.getsockname()[1]} answers with model {name}; stop with Ctrl-C"
        answer_at(listener, app, ready, timeout_s=(limits or Limits()).timeout_s)


def _check_token(token: str | None, host: str) -> None:
    if token is not None and len(token) < _MIN_TOKEN:
        raise RecipeError(f"serve: {TOKEN} has {len(token)} characters. Expected {_MIN_TOKEN} or more.")
    if token is None and not _is_loopback(host):
        raise RecipeError(f"serve: other machines can reach {host}. Set {TOKEN} to a secret, or leave out --host.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
