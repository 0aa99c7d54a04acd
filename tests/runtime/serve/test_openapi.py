"""The served description of the API: schemathesis sends what it allows and what it forbids, and reads the answers."""

import pytest
from hostile import archive, case
from serving import FREE, Server

pytestmark = pytest.mark.serve
schemathesis = pytest.importorskip("schemathesis", reason="make test-serve installs it")
hypothesis = pytest.importorskip("hypothesis")


@pytest.fixture(scope="module")
def server(engines, tmp_path_factory):
    flags = ("--engines", engines("recipe_hjb", "onnxruntime"), *FREE, "--max-posts", 100_000, "--threads", 1)
    with Server(tmp_path_factory.mktemp("data"), *flags) as server:
        server.ready()
        job = server.submit({"case": archive(case())}, steps=1, identity="none")
        server.wait(job, "completed")
        server.job = job
        yield server


def test_the_description_is_complete(server):
    described = server.client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/videos",
        "/v1/videos/{id}",
        "/v1/videos/{id}/start",
        "/v1/videos/{id}/content",
        "/v1/videos/{id}/preview",
        "/v1/videos/{id}/events",
        "/v1/engines",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    for path, methods in described["paths"].items():
        for method, one in methods.items():
            assert "500" in one["responses"], (path, method)
            for status, answer in one["responses"].items():
                if status >= "400":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (path, method, status)


def test_schemathesis_finds_no_violation(server):
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    checks = schemathesis.checks
    # A random file is no video, which no schema can say: it is refused although its form is right.
    left_out = [checks.positive_data_acceptance] if hasattr(checks, "positive_data_acceptance") else []
    asked: dict[str, int] = {}

    def ask_all(operation) -> None:
        """Some requests of one operation."""

        @hypothesis.settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(made=operation.as_strategy())
        def ask(made):
            random_id = asked.get(operation.label, 0) % 2 or operation.method.upper() == "DELETE"
            if "id" in (made.path_parameters or {}) and not random_id:
                made.path_parameters["id"] = server.job  # else nearly all answers were 404
            asked[operation.label] = asked.get(operation.label, 0) + 1
            made.call_and_validate(excluded_checks=left_out)

        ask()

    for found in schema.get_all_operations():
        ask_all(found.ok())
    assert len(asked) == 12 and min(asked.values()) >= 1
