"""Every model's responses to the test prompts, each judged and scored: one file a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.data.batching import split_by_tokens
from preceptor.data.dataset import Judge, as_json
from preceptor.data.records import Demonstration, Messages, Prompt, messages_of
from preceptor.generation import row_uniforms, sample, stop_strings
from preceptor.models.forward import make_rows, response_logprobs
from preceptor.models.load import context_length
from preceptor.models.precision import precision
from preceptor.models.tokenizers import encode_prompt, text_of_ids, turn_ends
from preceptor.models.vocabulary import tokens_at_once


@dataclass(frozen=True)
class Answers:
    """One model's responses in the order of the prompts; those that ended end with eos."""

    texts: list[str]
    tokens: list[list[int]]
    finished: list[bool]


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: list[list[int]],
    *,
    keys: Sequence[tuple[int, ...]],
    max_response_tokens: int,
    temperature: float,
    continues_text: bool,
    dtype: str,
    seed: int,
    spare_memory: bool = False,
) -> Answers:
    """One response a prompt; with the same keys every model draws from the same uniform numbers.

    A turn that a newline ended gets the end token in its place: it is a whole response, and the
    reward model has seen no other end than that one.
    """
    stops = stop_strings(tokenizer, turn_ends(tokenizer, continues_text=continues_text))
    end = int(tokenizer.eos_token_id)
    uniforms = row_uniforms(seed, "evaluate", keys, max_response_tokens)
    with precision(dtype):
        generated = sample(
            model,
            prompt_ids,
            uniforms,
            stop_ids=[end],
            stops=stops,
            temperature=temperature,
            spare_memory=spare_memory,
        )
    texts = [stops.cut(text_of_ids(tokenizer, row)).strip() for row in generated.responses]
    tokens = [
        [*stops.before(row), end] if ended and row[-1] != end else row
        for row, ended in zip(generated.responses, generated.finished, strict=True)
    ]
    return Answers(texts, tokens, generated.finished)


def few_shot_ids(
    tokenizer: PreTrainedTokenizerBase,
    shots: Sequence[Demonstration],
    prompt: Prompt,
    room: int,
) -> list[int]:
    """A prompt behind worked examples, as many of them as fit into `room` tokens."""
    for skip in range(len(shots) + 1):
        messages: Messages = []
        for shot in shots[skip:]:
            messages += [*messages_of(shot.prompt), {"role": "assistant", "content": shot.response}]
        ids = encode_prompt(tokenizer, [*messages, *messages_of(prompt.prompt)])
        if len(ids) <= room:
            return ids
    return ids


def few_shot_room(model: PreTrainedModel, max_response_tokens: int) -> int:
    """Tokens that a prompt with its examples may have."""
    return context_length(model) - max_response_tokens


def response_rows(
    prompts: Sequence[Prompt],
    answers: Answers,
    judge: Judge,
    scores: Sequence[float],
) -> list[dict[str, Any]]:
    """What stands in evaluation/responses-MODEL.jsonl."""
    return [
        {
            "index": i,
            "prompt": prompt.prompt,
            "user": prompt.user,
            "use_case": prompt.use_case,
            "heldout_entity": bool(prompt.meta.get("heldout_entity", False)),
            "heldout_phrasing": bool(prompt.meta.get("heldout_phrasing", False)),
            "response": answers.texts[i],
            "num_tokens": len(answers.tokens[i]),
            "finished": answers.finished[i],
            "judgement": as_json(judge(prompt, answers.texts[i])),
            "score": scores[i],
        }
        for i, prompt in enumerate(prompts)
    ]


@torch.no_grad()
def response_losses(
    model: PreTrainedModel, prompt_ids: list[list[int]], responses: list[list[int]], dtype: str
) -> list[float]:
    """Mean loss per token, nats, of each response under `model` given its prompt."""
    losses = [0.0] * len(responses)
    lengths = [len(p) + len(r) for p, r in zip(prompt_ids, responses, strict=True)]
    for group in split_by_tokens(lengths, tokens_at_once(model)):
        rows = make_rows([prompt_ids[i] for i in group], [responses[i] for i in group])
        with precision(dtype):
            logprobs = response_logprobs(model, rows)
        means = -logprobs.sum(1) / rows.response_mask.sum(1).clamp(min=1)
        for i, mean in zip(group, means.tolist(), strict=True):
            losses[i] = mean
    return losses
