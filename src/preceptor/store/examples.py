"""What a prompt that a labeler wrote asks, and the examples that a few-shot one is."""

from collections.abc import Mapping

from preceptor.data.conversations import read_few_shot
from preceptor.data.records import Demonstration
from preceptor.store.forms import form_of


def prompt_in(task_type: str, texts: Mapping[str, str]) -> str:
    """What is asked. A few-shot prompt asks its last query, the other pairs before it."""
    if task_type != "prompt_few_shot":
        return texts["prompt"]
    return str(examples_of(texts)[-1].prompt)


def examples_of(texts: Mapping[str, str]) -> list[Demonstration]:
    """The K examples of a few-shot prompt, each with the other K - 1 pairs as context."""
    form = form_of("prompt_few_shot", {}, texts)
    row = {key: form[key] for key in ("instruction", "pairs")}
    return [
        Demonstration(found["prompt"], found["response"], meta=found["meta"])
        for found in read_few_shot(row, "the form", Demonstration)
    ]
