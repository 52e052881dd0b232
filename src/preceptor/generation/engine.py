"""Sampling in process: a KV cache, finished rows leave the batch, log-probabilities are kept.

Every row draws from uniform numbers of its own, so what a row says does not depend on which other
rows share its batch (up to floating-point rounding of the logits).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.data.records import Messages
from preceptor.errors import DataError
from preceptor.generation.cache import cached_bytes, roomy_cache
from preceptor.generation.decoder import Decoder, fast_steps
from preceptor.generation.stops import StopStrings, stop_strings
from preceptor.models.attention import cached_mask
from preceptor.models.load import context_length, trunk
from preceptor.models.tokenizers import encode_prompt, text_of_ids, turn_ends
from preceptor.models.vocabulary import embedded, head_logits, tokens_at_once
from preceptor.randomness import derived_seed

LEAVE_AT = 16
"""Ended rows leave a batch when they are one in so many."""
CACHE_BYTES = 2**30
"""Of keys and values at once, were all responses as long as they may be; a single row may need
more."""
PART = 128
"""Tokens of the vocabulary whose probabilities are added up before the running sum of a draw."""


@dataclass(frozen=True)
class Generated:
    """Responses of one batch of prompts, in the prompts' order.

    responses  B lists of ids, the stop token included where it was reached
    logprobs   B lists of nats, of those ids under the model at the sampling temperature
    finished   B flags: the response ended by itself
    """

    responses: list[list[int]]
    logprobs: list[list[float]]
    finished: list[bool]


def row_uniforms(seed: int, purpose: str, rows: Sequence[tuple[int, ...]], length: int) -> Tensor:
    """Uniform numbers [B, length], each row from a stream of its own key."""
    draws = [
        np.random.default_rng(derived_seed(seed, purpose, *key)).random(length) for key in rows
    ]
    return torch.from_numpy(np.stack(draws))


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    uniforms: Tensor,
    *,
    stop_ids: Sequence[int],
    stops: StopStrings | None = None,
    temperature: float = 1.0,
    max_rows: int | None = None,
    spare_memory: bool = False,
) -> Generated:
    """Sample one response a prompt, at most uniforms.shape[1] tokens each.

    No top-k, top-p or penalties: what is drawn is the very distribution whose log-probabilities
    are kept (InstructGPT appendix C.4). Temperature 0 takes the likeliest token. A response ends
    with a stop id, or with the token that completes one of the `stops` in its text. At most
    `max_rows` are sampled at once: 512, or fewer where the vocabulary is large, and fewer where
    prompts or responses are long (CACHE_BYTES). To `spare_memory` no copies of the weights are
    made, which is slower.
    """
    max_rows = max_rows or min(512, max(16, tokens_at_once(model) // 4))
    room = CACHE_BYTES // cached_bytes(model)
    # Rows of like length share a batch: less padding in front, the same draws either way.
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    responses: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    with fast_steps(model, spare_memory) as decoder:
        for chunk in _batches(order, prompts, uniforms.shape[1], max_rows, room):
            *_, part = _growing(
                model,
                [prompts[i] for i in chunk],
                uniforms[chunk],
                stop_ids,
                stops,
                temperature,
                decoder,
            )
            for place, row in enumerate(chunk):
                responses[row], logprobs[row] = part.responses[place], part.logprobs[place]
                finished[row] = part.finished[place]
    return Generated(responses, logprobs, finished)


def _batches(
    order: list[int],
    prompts: Sequence[Sequence[int]],
    length: int,
    max_rows: int,
    max_positions: int,
) -> Iterator[list[int]]:
    """Rows from the shortest prompt on, as many at once as their padded positions have room."""
    chunk: list[int] = []
    for row in order:
        rows = len(chunk) + 1
        if chunk and (rows > max_rows or rows * (len(prompts[row]) + length) > max_positions):
            yield chunk
            chunk = []
        chunk.append(row)
    if chunk:
        yield chunk


def _growing(
    model: PreTrainedModel,
    prompts: list[Sequence[int]],
    uniforms: Tensor,
    stop_ids: Sequence[int],
    stops: StopStrings | None,
    temperature: float,
    decoder: Decoder | None,
) -> Iterator[Generated]:
    """The responses of one batch, which are the same lists after every token and at the end."""
    # 1. Prompts are padded on the left, so that all responses begin in the same column. A prompt
    #    that is asked for several responses is encoded once.
    unique = list(dict.fromkeys(map(tuple, prompts)))
    width = max(len(p) for p in unique)
    input_ids = torch.zeros(len(unique), width, dtype=torch.long)
    attended = torch.zeros(len(unique), width, dtype=torch.long)
    for row, prompt in enumerate(unique):
        input_ids[row, width - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
        attended[row, width - len(prompt) :] = 1
    positions = (attended.cumsum(1) - attended).clamp(min=0)
    starts = width - attended.sum(1)
    said = Generated([[] for _ in prompts], [[] for _ in prompts], [False] * len(prompts))
    active = torch.arange(len(prompts))
    going = torch.ones(len(prompts), dtype=torch.bool)  # which of the active rows have not ended
    always = torch.tensor([*stop_ids, *(stops.always if stops else ())])
    cache = roomy_cache(model, width + uniforms.shape[1])

    for step in range(uniforms.shape[1]):
        # 2. One forward pass: the whole prompt first, then a token at a time.
        queries = input_ids.shape[1]
        keys, _ = cache.get_mask_sizes(queries, 0)
        if decoder is not None and step > 0:
            states = decoder.step(embedded(model, input_ids), positions, starts, cache)
        else:
            states = trunk(model)(
                inputs_embeds=embedded(model, input_ids),
                attention_mask=cached_mask(model, attended, queries, keys),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
        if step == 0 and len(unique) < len(prompts):
            places = {prompt: place for place, prompt in enumerate(unique)}
            own = torch.tensor([places[tuple(prompt)] for prompt in prompts])
            cache.batch_select_indices(own)
            states, attended, positions = states[own], attended[own], positions[own]
            starts = starts[own]
        logits = head_logits(model, states)
        tokens, drawn = draw(logits, uniforms[active, step], temperature)
        told = zip(active.tolist(), going.tolist(), tokens.tolist(), drawn.tolist(), strict=True)
        for row, goes, token, logprob in told:
            if goes:
                said.responses[row].append(token)
                said.logprobs[row].append(logprob)
        # 3. Rows that ended leave, a few at a time: every new number of rows costs (docs/log.md).
        done = going & torch.isin(tokens, always)
        if stops and stops.perhaps:
            done |= going & torch.tensor(
                [stops.ended(said.responses[row]) for row in active.tolist()]
            )
        for row in active[done].tolist():
            said.finished[row] = True
        going &= ~done
        yield said
        if not bool(going.any()):
            break
        if int((~going).sum()) >= max(1, len(active) // LEAVE_AT):
            keep = going.nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            active, tokens, going = active[keep], tokens[keep], going[keep]
            attended, positions, starts = attended[keep], positions[keep], starts[keep]
        input_ids = tokens[:, None]
        attended = torch.cat([attended, torch.ones(len(active), 1, dtype=torch.long)], dim=1)
        positions = positions[:, -1:] + 1
    yield said


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw a token a row by inverting the cumulative distribution; returns ids and their nats.

    Args:
        logits: [B, V].
        uniform: [B], each in [0, 1).
        temperature: divides the logits; 0 takes the likeliest token.

    Raises:
        DataError: logits with nan or inf.
    """
    scaled = logits.float() if temperature in (0, 1) else logits.float() / temperature
    logprobs = torch.log_softmax(scaled, dim=-1)
    if bad := int(logprobs[:, 0].isnan().sum()):  # one such number makes all of its row so
        raise DataError(
            f"{bad} of {len(logits)} rows of logits are not numbers: weights with nan or inf, or "
            "too large for bf16. Take an earlier checkpoint, or set precision: fp32."
        )
    tokens = logprobs.argmax(-1) if temperature == 0 else _at(uniform, logprobs.exp())
    return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)


def _at(uniform: Tensor, weights: Tensor) -> Tensor:
    """Where the running sum [B, V] of weights passes `uniform` [B] of the whole, in fp64.

    Sums of parts are run through first, and then the part where it happens: a running sum of all
    in fp64 took most of a draw (docs/log.md).
    """
    parts = nn.functional.pad(weights, (0, -weights.shape[1] % PART)).unflatten(1, (-1, PART))
    ends = parts.sum(-1, dtype=torch.float64).cumsum(-1)
    part, before = _passed(ends, uniform.double() * ends[:, -1])
    ends_within = parts[torch.arange(len(parts)), part].cumsum(-1, dtype=torch.float64)
    within, _ = _passed(ends_within, before)
    return part * PART + within


def _passed(ends: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The first entry [B] of a running sum [B, N] that is above the target, and what is left of it.

    Rounding can make a target as large as the whole; the last entry that adds something is taken.
    """
    target = torch.minimum(target, torch.nextafter(ends[:, -1], torch.zeros_like(target)))
    place = torch.searchsorted(ends, target[:, None], right=True).squeeze(1)
    before = nn.functional.pad(ends, (1, 0)).gather(1, place[:, None]).squeeze(1)
    return place, target - before


@torch.no_grad()
def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    continues_text: bool = False,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the response's text piece by piece, never half a character nor what ended it."""
    own = turn_ends(tokenizer, continues_text=continues_text)
    stops = stop_strings(tokenizer, (*own, *stop))
    prompt = encode_prompt(tokenizer, messages)
    length = max(0, min(max_new_tokens, context_length(model) - len(prompt)))
    uniforms = row_uniforms(seed, "stream", [(0,)], length)
    end = cast(int, tokenizer.eos_token_id)
    shown = ""
    with fast_steps(model) as decoder:
        for said in _growing(model, [prompt], uniforms, [end], stops, temperature, decoder):
            text = stops.cut(text_of_ids(tokenizer, said.responses[0])).lstrip()
            if not said.finished[0] and len(said.responses[0]) < length:
                text = stops.settled(text)
            if not text.endswith("\ufffd") and text.startswith(shown):
                yield text[len(shown) :]
                shown = text
