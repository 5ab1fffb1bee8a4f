"""Whatever bytes a request holds, the server answers with rows or with a problem of the form that it declares."""

import io
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from mien.predict.model_folder import ModelConfig
from mien.predict.predictor import Predictor
from mien.serve.app import make_app
from mien.serve.limits import Limits

INPUTS = int(os.environ.get("MIEN_FUZZ", "300"))
SHARE = 0.1  # of all inputs; tests/faults/test_fuzz.py has the others
PIECES = (
    b"",
    b"--b",
    b"--b--",
    b"\r\n",
    b"\r\n\r\n",
    b'"',
    b";",
    b"\0",
    b"\xff\xfe",
    b"name=",
    b"filename*=UTF-8''%ff",
    b"a" * 70_000,
)


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), 90).save(file, form)
    return file.getvalue()


PICTURES = [picture(form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of a server whose model thinks all classes equally probable."""
    config = ModelConfig({"encoder": "none"}, ("calm", "glad"), 8, 1)
    predictor = Predictor(config, lambda faces: np.zeros((len(faces), 2), np.float32), "even")
    app = make_app(predictor, limits=Limits(max_bytes=100_000, max_files=4, max_pixels=10_000))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=True) as client:
        yield client


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Forms, mostly of spoiled pictures, with pieces of them replaced."""
    parts = []
    for place in range(draw(st.integers(0, 5))):
        content = draw(st.sampled_from(PICTURES))
        start = draw(st.integers(0, len(content)))
        content = content[:start] + draw(st.binary(max_size=8)) + content[start + draw(st.sampled_from([0, 1, 4, 1000])) :]
        name = draw(st.sampled_from(["files", "files", "files", "other"]))
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{place}.png"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    whole = b"".join([*parts, b"--b--\r\n"])
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(whole)))
        whole = whole[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + whole[start + draw(st.integers(0, 9)) :]
    return whole


KINDS = ("multipart/form-data; boundary=b",) * 6 + (
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "text/plain",
    "",
    "é",
)


@settings(max_examples=round(INPUTS * SHARE), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    body=bodies(),
    kind=st.sampled_from(KINDS) | st.text(max_size=20),
    query=st.sampled_from(["cropped=true", "cropped=1&largest=x", "", "cropped=true&cropped=false", "%ff=%00"]),
)
def test_any_body_gets_rows_or_a_problem(client: TestClient, body: bytes, kind: str, query: str) -> None:
    headers = {"content-type": kind.encode("utf-8", "replace")}
    response = client.post(f"/v1/predict?{query}", content=body, headers=headers)
    if response.status_code == 200:
        assert response.json()["predictions"]
    else:
        assert response.status_code in (400, 413, 415, 422) and response.json()["detail"].strip(), response.text
