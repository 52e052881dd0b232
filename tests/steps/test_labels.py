"""What the steps before the training do beside reading and writing."""

from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.steps.labels import judging_once


def test_what_several_labelers_read_is_judged_once():
    asked = []

    def judge(prompt: Prompt, response: str) -> Judgement:
        asked.append(response)
        return Judgement(len(response) / 10, {})

    once = judging_once(judge)
    scores = [once(Prompt("q"), text).score for text in ("a", "bbb", "a", "a", "bbb")]
    assert scores == [0.1, 0.3, 0.1, 0.1, 0.3]
    assert asked == ["a", "bbb"]
