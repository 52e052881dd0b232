"""The forward passes that all stages share: right-padded rows in, response positions out.

B rows, L positions of the longest row, T response positions of the longest response.

Rows are prompt + response, padded on the right. Attention is causal, so no valid position can see
padding and position ids need no mask: padded and unpadded copies agree by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from preceptor.models.load import scalar_head, trunk
from preceptor.models.precision import precision
from preceptor.models.vocabulary import embedded, head_logprobs, tokens_at_once

Sequences = npt.NDArray[np.int32]
"""Packed text [N, L] as token ids."""

WIDTH_STEP = 16
"""Grouped rows have a multiple of this many positions: a CPU's matrix products are compiled for
each new shape, which cost more than the padding does (docs/log.md)."""


@dataclass(frozen=True)
class Rows:
    """Prompts with their responses, ready for a forward pass.

    input_ids      [B, L]  prompt + response, 0 on the right of it
    predicts       [B, T]  position whose hidden state predicts response token t
    tokens         [B, T]  response tokens, the end token included
    response_mask  [B, T]  True on response tokens
    lengths        [B]     tokens of each whole row
    """

    input_ids: Tensor
    predicts: Tensor
    tokens: Tensor
    response_mask: Tensor
    lengths: Tensor


def make_rows(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Rows:
    """Pad prompts with responses on the right; T is the longest response of these rows."""
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    width = max(max(len(r) for r in responses), 1)
    input_ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.bool)
    starts = torch.tensor([len(p) for p in prompts])
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        input_ids[row, : lengths[row]] = torch.tensor([*prompt, *response])
        tokens[row, : len(response)] = torch.tensor(response, dtype=torch.long)
        mask[row, : len(response)] = True
    predicts = (starts[:, None] - 1 + torch.arange(width)).clamp(max=max(lengths) - 1)
    return Rows(input_ids, predicts, tokens, mask, torch.tensor(lengths))


def hidden_states(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Last hidden states [B, L, D] of the trunk."""
    states: Tensor = trunk(model)(
        inputs_embeds=embedded(model, input_ids), use_cache=False
    ).last_hidden_state
    return states


def grouped_width(prompt: Sequence[int], responses: Sequence[Sequence[int]]) -> int:
    """Positions of a row that holds a prompt and its responses, up to the next WIDTH_STEP."""
    length = len(prompt) + sum(len(response) for response in responses)
    return -(-length // WIDTH_STEP) * WIDTH_STEP


def grouped_scores(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
) -> Tensor:
    """Scores of all responses of P prompts, prompt by prompt, each prompt encoded only once.

    A row is the prompt and then its K responses. Each response sees the prompt and itself and
    nothing of its siblings, and its positions go on from the prompt, so that the scores are those
    of K separate rows (`response_scores`), for less than half the tokens.
    """
    widths = [grouped_width(p, own) for p, own in zip(prompts, responses, strict=True)]
    shape = (len(prompts), max(widths))
    input_ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape).long()
    segment = torch.full(shape, -1)  # 0 is the prompt, 1..K its responses, -1 padding
    ends: list[tuple[int, int]] = []
    for row, (prompt, own) in enumerate(zip(prompts, responses, strict=True)):
        start = 0
        for number, part in enumerate([prompt, *own]):
            stop = start + len(part)
            input_ids[row, start:stop] = torch.tensor(part, dtype=torch.long)
            offset = 0 if number == 0 else len(prompt)
            positions[row, start:stop] = torch.arange(offset, offset + len(part))
            segment[row, start:stop] = number
            start = stop
            if number:
                ends.append((row, stop - 1))
    earlier = torch.ones(shape[1], shape[1], dtype=torch.bool).tril()
    own_part = segment[:, :, None] == segment[:, None, :]
    of_prompt = (segment == 0)[:, None, :]
    mask = (earlier & (own_part | of_prompt))[:, None]
    states = trunk(model)(
        inputs_embeds=embedded(model, input_ids),
        position_ids=positions,
        attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    rows, columns = torch.tensor(ends).T
    return head_scores(model, states[rows, columns])


def head_scores(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Scores or values [...] of hidden states [..., D], in fp32 whatever the trunk's precision.

    Between 2 and 4 a bf16 number knows no step smaller than 0.016.
    """
    head = scalar_head(model)
    with torch.autocast(states.device.type, enabled=False):
        scores: Tensor = nn.functional.linear(states.float(), head.weight.float(), head.bias)
    return scores.squeeze(-1)


def response_logprobs(model: PreTrainedModel, rows: Rows, *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities [B, T] of the response tokens, nats, 0 where masked."""
    return response_logprobs_and_entropy(model, rows, temperature=temperature)[0]


def response_logprobs_and_entropy(
    model: PreTrainedModel, rows: Rows, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B, T] of the response tokens and the entropy of the distributions they
    were drawn from, nats, 0 where masked. Logits are computed for response tokens alone.
    """
    states = hidden_states(model, rows.input_ids)
    mask = rows.response_mask
    row, _ = mask.nonzero(as_tuple=True)
    found = head_logprobs(model, states[row, rows.predicts[mask]], rows.tokens[mask], temperature)
    logprobs, entropy = (
        torch.zeros(mask.shape).masked_scatter(mask, each.float()) for each in found
    )
    return logprobs, entropy


def response_values(model: PreTrainedModel, rows: Rows) -> Tensor:
    """The value model's estimate [B, T] at the position that predicts each response token."""
    states = hidden_states(model, rows.input_ids)
    index = rows.predicts[:, :, None].expand(-1, -1, states.shape[-1])
    return head_scores(model, states.gather(1, index)).masked_fill(~rows.response_mask, 0.0)


def response_scores(model: PreTrainedModel, rows: Rows) -> Tensor:
    """The reward model's score [B], read at the last token of prompt + response."""
    states = hidden_states(model, rows.input_ids)
    last = states[torch.arange(states.shape[0]), rows.lengths - 1]
    return head_scores(model, last)


def sequence_logprobs(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Log-probabilities [B, L - 1] of input_ids[:, 1:], nats."""
    states = hidden_states(model, input_ids)[:, :-1]
    found, _ = head_logprobs(model, states.flatten(0, 1), input_ids[:, 1:].flatten())
    return found.view(states.shape[:2])


@torch.no_grad()
def held_out_losses(
    model: PreTrainedModel, sequences: Sequences, dtype: str
) -> npt.NDArray[np.float64]:
    """Mean next-token loss of each packed sequence [N], nats per token."""
    tokens = torch.from_numpy(sequences.astype(np.int64))
    losses = []
    for part in tokens.split(max(1, tokens_at_once(model) // tokens.shape[1])):
        with precision(dtype):
            losses.append(-sequence_logprobs(model, part).mean(1))
    found: npt.NDArray[np.float64] = torch.cat(losses).double().numpy()
    return found
