"""Scores of a web service: asked in batches, again when it is down, blamed when it is wrong."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from preceptor.errors import RecipeError, TrainingError
from preceptor.steps import scores
from preceptor.steps.scores import checked, is_service, service


@pytest.fixture
def server():
    """A service that plays a list of (status, body) and remembers what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            self.server.asked.append(json.loads(self.rfile.read(length)))
            status, body = self.server.plays.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.plays = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/score"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(scores, "PAUSES", (0.0, 0.0))


def test_a_service_is_asked_with_prompts_and_responses(server):
    server.plays = [(200, b'{"scores": [1, -0.5]}')]
    assert service(server.url)(["p", "q"], ["a", "b"]) == [1, -0.5]
    assert server.asked == [{"prompts": ["p", "q"], "responses": ["a", "b"]}]


def test_a_service_that_is_down_for_a_moment_is_asked_again(server):
    server.plays = [(503, b""), (200, b'{"scores": [2]}')]
    assert service(server.url)(["p"], ["a"]) == [2]
    assert server.asked[0] == server.asked[1]


def test_a_service_that_stays_down_or_refuses_is_named(server):
    server.plays = [(500, b"")] * 3
    with pytest.raises(TrainingError, match=r"score: 500 .* it continues at the last checkpoint"):
        service(server.url)(["p"], ["a"])
    server.plays = [(404, b"")]
    with pytest.raises(TrainingError, match="score: 404"):
        service(server.url)(["p"], ["a"])
    assert len(server.asked) == 4  # a refusal is not asked again
    with pytest.raises(TrainingError, match="refused"):
        service("http://127.0.0.1:9/score")(["p"], ["a"])


@pytest.mark.parametrize("body", [b"hello", b"[1]", b'{"score": [1]}'])
def test_an_answer_of_another_form_is_blamed_on_the_service(server, body):
    server.plays = [(200, body)]
    with pytest.raises(RecipeError, match=r"not JSON of the form"):
        service(server.url)(["p"], ["a"])


def test_what_is_not_a_number_for_each_response_is_refused():
    assert checked([1, 2.5], ["a", "b"], "x").tolist() == [1.0, 2.5]
    for found, said in (
        (None, "gave NoneType"),
        (["good"], "gave list"),
        ([1.0], "1 scores for 2 responses"),
        ([1.0, float("inf")], "gave inf for 'b'"),
    ):
        with pytest.raises(RecipeError, match=said):
            checked(found, ["a", "b"], "x")


def test_addresses_are_services_and_functions_are_not():
    assert is_service("http://localhost:1/score") and is_service("https://a.b/c")
    assert not is_service("reward_model") and not is_service("module:function")
