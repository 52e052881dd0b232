"""The forward passes that all stages share: packed rows in, numbers of response tokens out.

B prompts with their responses, T response positions of the longest response. They stand one after
another in a row of M positions, and attention keeps them apart (packing.py), so that no number
depends on what else is in the row, but for the order in which a matrix product sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from preceptor.models.attention import can_pack
from preceptor.models.layers import last_layer
from preceptor.models.load import scalar_head, trunk
from preceptor.models.packing import Packing, as_row, pack, pack_groups, packed, rows_at
from preceptor.models.precision import precision
from preceptor.models.vocabulary import embedded, head_logprobs, tokens_at_once

Sequences = npt.NDArray[np.int32]
"""Packed text [N, L] as token ids."""


@dataclass(frozen=True)
class Rows:
    """B prompts with their responses, one after another, ready for a forward pass.

    input_ids      [M]     prompt, response, prompt, response, .. and 0 behind the last
    packing                where each of them stands
    predicts       [N]     place whose hidden state predicts a response token, response by response
    last           [B]     place of each last token
    tokens         [B, T]  response tokens, the end token included
    response_mask  [B, T]  True on response tokens, N in all
    """

    input_ids: Tensor
    packing: Packing
    predicts: Tensor
    last: Tensor
    tokens: Tensor
    response_mask: Tensor


def make_rows(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Rows:
    """Pack prompts with responses; T is the longest response of these rows."""
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    packing = pack(lengths)
    input_ids = torch.zeros(len(packing.positions), dtype=torch.long)
    input_ids[: packing.count] = torch.tensor(
        [token for p, r in zip(prompts, responses, strict=True) for token in (*p, *r)]
    )
    sizes = torch.tensor([len(r) for r in responses])
    within = torch.arange(max(int(sizes.max()), 1))
    mask = within < sizes[:, None]
    tokens = torch.zeros(mask.shape, dtype=torch.long)
    last = packing.starts + torch.tensor(lengths) - 1
    predicts = (last - sizes)[:, None] + within  # one before the response's first, and so on
    tokens[mask] = input_ids[predicts[mask] + 1]
    return Rows(input_ids, packing, predicts[mask], last, tokens, mask)


def row_states(model: PreTrainedModel, rows: Rows, places: Tensor) -> Tensor:
    """Last hidden states [N, D] of the trunk at places of the row of which no two are the same."""
    packing = rows.packing
    if can_pack(model):
        return packed_states(model, rows.input_ids, packing, places)
    count, width = packing.shape
    longest = int(packing.positions.max()) + 1  # a table of positions may end there
    padded = rows.input_ids[packing.index].view(count, width)[:, :longest]
    states = hidden_states(model, padded)
    filled = nn.functional.pad(states, (0, 0, 0, width - longest))
    return rows_at(as_row(filled.flatten(0, 1), packing), places)


def packed_states(
    model: PreTrainedModel, input_ids: Tensor, packing: Packing, places: Tensor
) -> Tensor:
    """Last hidden states [N, D] at places of one row [M] of ids.

    Of the last layer only they need what comes after attention, which is most of a layer.
    """
    last = last_layer(trunk(model))
    # With a mask of four axes transformers makes none of its own; attention knows the packing.
    with packed(packing, last, places):
        states: Tensor = trunk(model)(
            inputs_embeds=embedded(model, input_ids[None]),
            position_ids=packing.positions[None],
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool),
            use_cache=False,
        ).last_hidden_state
    return rows_at(states[0], places) if last is None else states[0]


def hidden_states(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Last hidden states [B, L, D] of the trunk."""
    states: Tensor = trunk(model)(
        inputs_embeds=embedded(model, input_ids), use_cache=False
    ).last_hidden_state
    return states


def grouped_scores(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
) -> Tensor:
    """Scores of all responses of P prompts, prompt by prompt, each prompt encoded only once.

    Each response sees the prompt and itself and nothing of its siblings, and its positions go on
    from the prompt, so that the scores are those of separate rows (`response_scores`), for less
    than half the tokens.

    Raises:
        ValueError: the model's attention is not ours, or not plainly causal.
    """
    if not can_pack(model):
        raise ValueError(f"{type(model).__name__}'s attention is not plain, causal and ours")
    every = [response for own in responses for response in own]
    packing = pack_groups(
        [len(prompt) for prompt in prompts], [[len(r) for r in own] for own in responses]
    )
    input_ids = torch.zeros(len(packing.positions), dtype=torch.long)
    input_ids[: packing.count] = torch.tensor(
        [token for part in (*prompts, *every) for token in part]
    )
    last = packing.starts[len(prompts) :] + torch.tensor([len(r) for r in every]) - 1
    return head_scores(model, packed_states(model, input_ids, packing, last))


def head_scores(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Scores or values [...] of hidden states [..., D], in fp32 whatever the trunk's precision.

    Between 2 and 4 a bf16 number knows no step smaller than 0.016.
    """
    head = scalar_head(model)
    with torch.autocast(states.device.type, enabled=False):
        scores: Tensor = nn.functional.linear(states.float(), head.weight.float(), head.bias)
    return scores.squeeze(-1)


def response_logprobs(model: PreTrainedModel, rows: Rows, *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities [B, T] of the response tokens, nats, 0 where masked.

    Logits are computed for response tokens alone.
    """
    found, _ = _response_numbers(model, rows, temperature, with_entropy=False)
    return as_table(found, rows.response_mask)


def response_logprobs_and_entropy(
    model: PreTrainedModel, rows: Rows, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The same, and the entropy [B, T] of the distributions that the tokens are from, nats."""
    found = _response_numbers(model, rows, temperature, with_entropy=True)
    logprobs, entropy = (as_table(each, rows.response_mask) for each in found)
    return logprobs, entropy


def _response_numbers(
    model: PreTrainedModel, rows: Rows, temperature: float, *, with_entropy: bool
) -> tuple[Tensor, Tensor]:
    states = row_states(model, rows, rows.predicts)
    tokens = rows.tokens[rows.response_mask]
    return head_logprobs(model, states, tokens, temperature, with_entropy=with_entropy)


def as_table(values: Tensor, mask: Tensor) -> Tensor:
    """Values [N] of the response tokens as [B, T], 0 where masked."""
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter(mask, values)


def response_values(model: PreTrainedModel, rows: Rows) -> Tensor:
    """The value model's estimate [B, T] at the position that predicts each response token."""
    states = row_states(model, rows, rows.predicts)
    return as_table(head_scores(model, states), rows.response_mask)


def response_scores(model: PreTrainedModel, rows: Rows) -> Tensor:
    """The reward model's score [B], read at the last token of prompt + response."""
    return head_scores(model, row_states(model, rows, rows.last))


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
