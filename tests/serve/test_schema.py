"""What the API says of itself against what it does, by generated requests."""

import json

import pytest
from hypothesis import given, settings
from starlette.testclient import TestClient

from mien.serve.app import make_app

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: no generated requests")
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

EXAMPLES = 10


@pytest.fixture(scope="module")
def api(start):
    return schemathesis.openapi.from_url(start() + "openapi.json")


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/models", "/metrics", "/healthz", "/readyz"])
def test_no_request_gets_an_answer_that_is_not_declared(api, path):
    (operation,) = (found.ok() for found in api.get_all_operations() if found.ok().path == path)

    @settings(max_examples=EXAMPLES)
    @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    def check(case) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # no schema says which bytes are a picture

    check()


def test_each_declared_error_has_the_form_of_a_problem_and_the_answer_an_example(predictor):
    with TestClient(make_app(predictor), base_url="http://localhost") as client:
        description = client.get("/openapi.json").json()
    responses = description["paths"]["/v1/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "403", "408", "413", "415", "421", "422", "429", "503"}
    assert all(set(responses[code]["content"]) == {"application/problem+json"} for code in responses if code != "200")
    (row,) = responses["200"]["content"]["application/json"]["example"]["predictions"]
    assert set(row) | {"problem"} == set(json.loads(predictor.predict([b"no"]).to_json()))
