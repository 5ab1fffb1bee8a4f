"""The review page as its requests and answers."""

import base64
import io
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mien import cli
from mien.audit import decisions as files
from mien.audit.decisions import read, states
from mien.audit.export import read_audit
from mien.audit.review import Review
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError
from mien.predict.predictions import Predictions
from mien.serve.review import _probs, keys_of, make_review_app

from .audited import write_audit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    write_audit(folder)
    return folder


@pytest.fixture
def open_review(folder: Path, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Returns what opens the page of a reviewer on one file of decisions; `table` and `found` change what is shown."""
    rows, found = SampleTable.read(folder / "faces.parquet"), read_audit(folder / "audit.parquet")
    probs = _probs(rows, Predictions.read(folder / "predictions.parquet"))
    clients = []

    def open_review(who: str = "ann", *, table: SampleTable = rows, found: pa.Table = found) -> TestClient:
        review = Review(table, found, tmp_path / "d.jsonl", who, probs)
        clients.append(TestClient(make_review_app(review), base_url="http://localhost"))
        return clients[-1].__enter__()

    yield open_review
    for client in clients:
        client.__exit__(None, None, None)


def rows_of(client: TestClient, **chosen: object) -> list[int]:
    return client.get("/list", params=chosen).json()["rows"]


def face_of(client: TestClient, row: int) -> dict:
    return client.get(f"/faces?rows={row}").json()[0]


def decide(client: TestClient, sample: str, *to: str, **more: object) -> dict:
    response = client.post("/decide", json={"sample": sample, "to": list(to), **more})
    assert response.status_code == 200, response.text
    return response.json()["face"]


# ---------------------------------------------------------------------- what is shown


def test_the_most_doubtful_faces_come_first_and_each_filter_keeps_its_own(open_review, folder):
    ask, found = open_review(), read_audit(folder / "audit.parquet")
    score, labels = np.asarray(found["score"]), np.array(found["label"].to_pylist())
    assert rows_of(ask) == np.argsort(score, kind="stable").tolist()
    assert {labels[row] for row in rows_of(ask, label="neutral")} == {"neutral"}
    assert set(rows_of(ask, doubt="score")) == set(np.flatnonzero(score < 0.5))
    assert set(rows_of(ask, below=0.3)) == set(np.flatnonzero(score <= 0.3))
    assert rows_of(ask, by="vote_agreement")[0] == int(np.asarray(found["vote_agreement"]).argmin())
    in_report = rows_of(ask, split="report")
    assert in_report and {ask.get(f"/face/{row}").json()["split"] for row in in_report} == {"report"}
    assert 0 < len(rows_of(ask, label="neutral", doubt="vote_agreement")) < len(rows_of(ask, label="neutral"))


def test_a_face_has_its_picture_votes_and_candidates_but_not_the_model_s_word_unless_asked(open_review, folder):
    ask, table = open_review(), SampleTable.read(folder / "faces.parquet")
    shown = ask.get("/face/3").json()
    assert Image.open(io.BytesIO(base64.b64decode(shown["picture"]))).size == (224, 224)
    assert list(shown["votes"].values()) == table.votes[3].tolist() and list(shown["votes"]) == list(table.vote_names)
    assert shown["candidates"] == [name for name, there in zip(table.classes, table.candidates[3], strict=True) if there]
    assert not {"probs", "suggested"} & shown.keys() and "suggested" not in face_of(ask, 3)
    asked = ask.get("/face/3?model=true").json()
    assert abs(sum(asked["probs"].values()) - 1) < 1e-3 and asked["suggested"] in table.classes


def test_rows_are_fetched_by_ranges_and_those_that_are_not_there_are_left_out(open_review):
    ask = open_review()
    assert [face["row"] for face in ask.get("/faces?rows=5,2,99,7").json()] == [5, 2, 7]
    assert ask.get("/faces?rows=1;2").status_code == 422
    assert ask.get("/face/99").json()["detail"].startswith("review: there is no face 99")


def test_a_picture_that_is_missing_is_a_sentence_not_a_failure(open_review, folder, tmp_path):
    table = SampleTable.read(folder / "faces.parquet")
    columns = {name: table.columns[name] for name in ("sample", "votes", "split")}
    Image.new("L", (20, 20)).save(tmp_path / "0.png")
    paths = [f"{row}.png" for row in range(60)]
    gone = SampleTable.from_columns(
        {**columns, "path": paths}, classes=table.classes, vote_names=table.vote_names, root=tmp_path
    )
    ask = open_review(table=gone)
    there, missing = ask.get("/faces?rows=0,1").json()
    assert there["picture"] and there["problem"] is None
    assert missing["picture"] is None and missing["problem"].endswith("no such file. Check the path.")
    assert ask.get("/face/1").json()["problem"] == missing["problem"]
    nothing = replace(gone, columns=gone.columns.drop_columns(["path"]))
    assert face_of(open_review(table=nothing), 0)["picture"] is None


def test_no_more_pictures_are_kept_than_a_bound(open_review, monkeypatch):
    monkeypatch.setattr("mien.audit.review._PICTURES", 8)
    made, ask = [], open_review()
    monkeypatch.setattr("mien.audit.review._shown", lambda image: made.append(1) or "x")
    for _ in range(2):
        ask.get("/faces?rows=" + ",".join(map(str, range(20))))
    assert len(made) == 32  # the last eight are known, the others made again
    ask.get("/faces?rows=19,18")
    assert len(made) == 32


def test_names_are_shown_as_text(open_review, folder):
    table, found = SampleTable.read(folder / "faces.parquet"), read_audit(folder / "audit.parquet")
    bad = "<img src=x onerror=alert(1)>"
    names = tuple(bad if name == "fear" else name for name in table.classes)
    columns = table.columns.set_column(0, "sample", pa.array([f"<b>{one}" for one in table.samples]))
    renamed = replace(table, columns=columns, classes=names, vote_names=(*names, *table.vote_names[8:]))
    found = found.set_column(0, "sample", columns["sample"])
    html = open_review("<script>alert(1)</script>", table=renamed, found=found).get("/").text
    assert "<script>alert" not in html and "<img src=x" not in html and "<b>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html and "&lt;script&gt;alert(1)" in html
    assert html.count("<script") == html.count("<script src=") == 2


def test_a_table_that_changed_since_the_audit_is_told_on_the_page(open_review, folder):
    table = SampleTable.read(folder / "faces.parquet")
    other = table.with_column("label", ["fear"] * 60).take(np.arange(50))
    html = open_review(table=other).get("/").text
    assert "10 of 60 audited faces are gone" in html and "labels are not those of the audit" in html
    renamed = replace(table, columns=table.columns.set_column(0, "sample", pa.array([f"x{row}" for row in range(60)])))
    with pytest.raises(TableError, match="none of the audited faces"):
        open_review(table=renamed)
    with pytest.raises(RecipeError, match="the reviewer has no name"):
        open_review("  ")


def test_every_class_and_answer_has_a_key_of_its_own_for_as_long_as_there_are_keys(open_review, folder, tmp_path):
    table, found = SampleTable.read(folder / "faces.parquet"), read_audit(folder / "audit.parquet")
    many = tuple(f"class {number}" for number in range(40))
    wide = SampleTable.from_columns({"sample": table.samples}, classes=many)
    keys = [key for key in keys_of(Review(wide, found, tmp_path / "x", "ann")).values() if key]
    assert len(set(keys)) == len(keys) == 28 and not set(keys) & set("uxznpmcg")
    assert list(keys_of(Review(table, found, tmp_path / "x", "ann")).values()) == [*"12345678", "q", "w"]


# ---------------------------------------------------------------------- decisions


def test_a_decision_is_in_the_file_once_it_is_answered_and_undo_takes_it_back(open_review, tmp_path):
    ask = open_review()
    first, second = (face_of(ask, row)["sample"] for row in rows_of(ask)[:2])
    state = decide(ask, first, "fear", "anger", why=" so ")
    assert state["mine"] == {"to": ["anger", "fear"], "how": "sure", "why": " so "}
    decide(ask, second, how="unsure")
    decide(ask, second, how="skip")
    given = read(tmp_path / "d.jsonl")[0]
    assert [(one.sample, one.how, one.to) for one in given] == [
        (first, "sure", ("anger", "fear")),
        (second, "unsure", ()),
        (second, "skip", ()),
    ]
    assert given[0].table == given[1].table != "" and given[0].label == face_of(ask, rows_of(ask, state="all")[0])["label"]
    assert len(rows_of(ask, state="open")) == 58 and len(rows_of(ask, state="mine")) == 2
    assert len(rows_of(ask, state="skipped")) == 1 and rows_of(ask, state="unsure") == []
    assert ask.post("/undo").json()["face"]["mine"]["how"] == "unsure"
    assert ask.post("/undo").json()["face"]["mine"] is None
    assert ask.post("/undo").json() == {"face": {**state, "mine": None}, "mine": 0, "all": 60, "conflicts": 0}
    assert ask.post("/undo").json()["face"] is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"to": ["awe"]}, "'awe' is no answer"),
        ({"to": []}, "expected answers if sure"),
        ({"to": ["fear"], "how": "skip"}, "none for a skip"),
        ({"to": ["fear", "not-a-face"]}, "stands alone"),
        ({"to": ["fear"], "sample": "other"}, "no such face"),
        ({"to": ["fear"], "how": "undo"}, "how: Input should be"),
        ({"to": ["fear"], "why": "x" * 2001}, "why: String should have at most"),
        ({"to": "fear"}, "to: Input should be"),
    ],
)
def test_what_is_no_decision_is_refused_in_a_sentence(open_review, tmp_path, body, why):
    ask = open_review()
    response = ask.post("/decide", json={"sample": face_of(ask, 0)["sample"], **body})
    assert response.status_code == 422 and why in response.json()["detail"]
    assert not (tmp_path / "d.jsonl").exists()


def test_what_could_not_be_kept_is_not_acknowledged(open_review, monkeypatch):
    ask = open_review()
    monkeypatch.setattr(files.os, "write", lambda number, line: 3)
    response = ask.post("/decide", json={"sample": face_of(ask, 0)["sample"], "to": ["fear"]})
    assert response.status_code == 507 and "not kept" in response.json()["detail"]


def test_two_reviewers_see_each_other_s_word_once_they_have_decided_and_conflicts_are_shown(open_review):
    ann, bo = open_review("ann"), open_review("bo")
    sample = face_of(ann, 5)["sample"]
    decide(ann, sample, "fear")
    seen = bo.get("/face/5").json()
    assert (seen["others"], seen["said"], seen["conflict"]) == (1, [], False)
    state = decide(bo, sample, "anger", why="the brow")
    assert state["said"] == [{"who": "ann", "to": ["fear"], "how": "sure", "why": ""}] and state["conflict"]
    assert rows_of(ann, state="conflict") == [5] == rows_of(bo, state="conflict")
    assert ann.get("/face/5").json()["said"][0]["why"] == "the brow" and ann.get("/list").json()["conflicts"] == 1
    bo.post("/undo")
    assert not face_of(ann, 5)["conflict"] and face_of(ann, 5)["mine"]["to"] == ["fear"]


def test_a_page_that_is_open_shows_a_face_no_more_once_it_is_forgotten(open_review, tmp_path, monkeypatch):
    ask = open_review()
    sample = face_of(ask, 4)["sample"]
    decide(ask, sample, "fear")
    assert cli.main(["audit", "forget", sample, "--decisions", str(tmp_path / "d.jsonl")]) == 0
    made = []
    monkeypatch.setattr("mien.audit.review._shown", lambda image: made.append(1) or "x")
    face_of(ask, 5)
    assert made, "the pictures that were kept are gone"
    assert ask.get("/faces?rows=4").json() == [] and ask.get("/face/4").status_code == 422
    assert 4 not in rows_of(ask, state="all") and states(read(tmp_path / "d.jsonl")[0]).standing == {}
    assert ask.post("/decide", json={"sample": sample, "to": ["fear"]}).status_code == 422


# ---------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/decide", "/undo"])
def test_what_another_site_s_page_sends_is_refused(open_review, tmp_path, headers, path):
    ask = open_review()
    body = {"sample": face_of(ask, 0)["sample"], "to": ["fear"]}
    assert ask.post(path, json=body, headers=headers).status_code == 403
    assert ask.post("/decide", json=body, headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}).is_success
    assert len(read(tmp_path / "d.jsonl")[0]) == 1


def test_another_host_s_name_a_large_body_and_other_methods_are_refused(open_review):
    ask = open_review()
    assert ask.get("/list", headers={"Host": "example.org"}).status_code == 421
    assert ask.post("/decide", json={"sample": "x" * 100_001}).status_code == 413
    assert ask.get("/decide").status_code == 405 and ask.get("/openapi.json").status_code == 404


def test_the_page_runs_its_own_scripts_alone_and_is_kept_nowhere(open_review):
    ask = open_review()
    for path in ("/", "/elements.js", "/review.js", "/review.css", "/page.css", "/faces?rows=1"):
        headers = ask.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
    assert "http" not in ask.get("/").text.replace("https://", "http") and "http" not in ask.get("/review.js").text


def test_the_command_says_what_is_missing_and_when_the_port_is_taken(folder, tmp_path, capsys):
    tokens = [
        "audit",
        "review",
        str(folder / "faces.parquet"),
        "--decisions",
        str(tmp_path / "d"),
        "--reviewer",
        "ann",
        "--port",
    ]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main([*tokens, port, "--scores", str(folder / "audit.parquet")]) == 2
    assert f"port {port}: " in capsys.readouterr().err
    assert cli.main([*tokens, "0", "--scores", str(tmp_path / "none.parquet")]) == 3
    assert "Make it with: mien audit run" in capsys.readouterr().err
