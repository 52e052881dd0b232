"""Scores of a web service: asked in batches, again when it is down, blamed when it is wrong."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import ValidationError

from preceptor.config import PPOConfig
from preceptor.data.records import Prompt
from preceptor.errors import RecipeError, TrainingError
from preceptor.recipes import load_recipe
from preceptor.steps import scores
from preceptor.steps.scores import checked, require_listener, score_function, service, source_hash

CUT_SHORT = 201
"""Here: the service breaks off in the middle of its answer."""


@pytest.fixture
def server():
    """A service that plays a list of (status, body) and remembers what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            self.server.asked.append(json.loads(self.rfile.read(length)))
            status, body = self.server.plays.pop(0)
            self.send_response(status)
            if status == CUT_SHORT:
                self.send_header("Content-Length", "999")
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
    monkeypatch.setenv("no_proxy", "*")


def test_a_service_is_asked_with_prompts_and_responses(server):
    server.plays = [(200, b'{"scores": [1, -0.5]}')]
    assert service(server.url)(["p", "q"], ["a", "b"]) == [1, -0.5]
    assert server.asked == [{"prompts": ["p", "q"], "responses": ["a", "b"]}]


def test_a_service_that_is_down_for_a_moment_is_asked_again(server):
    for trouble in (503, 429, CUT_SHORT):
        server.plays, server.asked[:] = [(trouble, b""), (200, b'{"scores": [2]}')], []
        assert service(server.url)(["p"], ["a"]) == [2]
        assert server.asked == [{"prompts": ["p"], "responses": ["a"]}] * 2


def test_many_responses_go_in_several_requests(server, monkeypatch):
    monkeypatch.setattr(scores, "AT_ONCE", 2)
    server.plays = [(200, b'{"scores": [1, 2]}'), (200, b'{"scores": [3]}')]
    assert service(server.url)(list("pqr"), list("abc")) == [1, 2, 3]
    assert [asked["responses"] for asked in server.asked] == [["a", "b"], ["c"]]


def test_a_service_that_stays_down_or_refuses_is_named(server):
    server.plays = [(500, b"")] * 3
    with pytest.raises(TrainingError, match=r"score: 500 .* it continues at the last checkpoint"):
        service(server.url)(["p"], ["a"])
    server.plays = [(422, b"responses: field missing")]
    with pytest.raises(TrainingError, match="score: 422 .* responses: field missing"):
        service(server.url)(["p"], ["a"])
    assert len(server.asked) == 4  # a refusal is not asked again
    with pytest.raises(TrainingError, match="refused"):
        service("http://127.0.0.1:9/score")(["p"], ["a"])


@pytest.mark.parametrize(
    "body", [b"hello", b"[1]", b'{"score": [1]}', b'{"scores": "1"}', b'{"scores": [1, 2]}']
)
def test_an_answer_of_another_form_is_blamed_on_the_service(server, body):
    server.plays = [(200, body)]
    with pytest.raises(TrainingError, match=r"not JSON like .* with 1 numbers, but '"):
        service(server.url)(["p"], ["a"])


def test_what_is_not_a_number_for_each_response_is_refused():
    assert checked([1, 2.5], ["a", "b"], "x").tolist() == [1.0, 2.5]
    for found, said in (
        (None, "gave NoneType"),
        (["good"], "gave list"),
        ("12", "gave str"),
        ({1: 0.5, 2: 0.5}, "gave dict"),
        ([1.0], "1 scores for 2 responses"),
        ([1.0, float("inf")], "gave inf for 'b'"),
    ):
        with pytest.raises(RecipeError, match=said):
            checked(found, ["a", "b"], "x")


def test_a_service_that_is_not_there_is_told_at_once(server):
    require_listener(server.url)
    with pytest.raises(RecipeError, match="nothing answers there"):
        require_listener("http://127.0.0.1:9/score")


def test_addresses_are_services_and_functions_are_not():
    assert PPOConfig(reward="http://localhost:1/score").is_service
    assert PPOConfig(reward="https://a.b/c").is_service
    assert not PPOConfig().is_service and not PPOConfig(reward="module:function").is_service
    assert source_hash(PPOConfig(reward="http://localhost:1/score")) is None
    for wrong in ("http://", "http://host:abc/", "http:///path", "http://hö.de/x"):
        with pytest.raises(ValidationError, match="no address of a service"):
            PPOConfig(reward=wrong)


def test_ppo_is_scored_by_a_service(server, tmp_path):
    recipe = load_recipe("miniature", [f"ppo.reward={server.url}"])
    assert recipe.ppo is not None
    score = score_function(recipe, recipe.ppo, tmp_path)
    server.plays = [(200, b'{"scores": [1, -0.5]}')]
    prompts = [Prompt("hi"), Prompt([{"role": "user", "content": "you"}])]
    assert score(prompts, [[1], [2]], [[3], [4]], ["a", "b"]).tolist() == [1.0, -0.5]
    assert [asked["responses"] for asked in server.asked] == [["a", "b"]]
