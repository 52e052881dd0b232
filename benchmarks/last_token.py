"""A reward model of which only the last token's pass is trained, over a frozen base.

Scores are read at the last token. Here everything before it goes through the base once, and the
keys and values that it left in the top layers are kept. The trained layers, norm and head then see
one token a response, so that an epoch costs a hundredth. Without training the scores are those of
the whole pass; with it they are not those of any one model folder, since the weights that made the
keys stay what they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from preceptor.data.batching import split_by_tokens
from preceptor.models.forward import head_scores
from preceptor.models.load import trunk
from preceptor.models.precision import precision
from preceptor.stages.reward import RankedPrompt


@dataclass(frozen=True)
class Memory:
    """What the frozen base made of everything before the last tokens of R sequences.

    Of L trained layers with G key-value heads of width d, and N tokens in all.

    past    [N, L, 2, G, d]  keys and values, bf16
    states  [R, D]           what enters the first trained layer at the last token
    starts  [R + 1]          where in `past` a sequence begins
    numbers                  (prompt and response) -> number of its sequence
    """

    past: Tensor
    states: Tensor
    starts: Tensor
    numbers: dict[tuple[int, ...], int]


class Past:
    """transformers' cache, read only: keys and values [B, T, L, 2, G, d], then the token's own."""

    def __init__(self, padded: Tensor) -> None:
        self.padded = padded

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        old = self.padded[:, :, layer].unbind(2)
        found = [
            torch.cat([o.transpose(1, 2), x], 2) for o, x in zip(old, (key, value), strict=True)
        ]
        return found[0], found[1]

    def get_seq_length(self) -> int:
        return self.padded.shape[1]


@torch.no_grad()
def remember(model: PreTrainedModel, items: Sequence[RankedPrompt], num_layers: int) -> Memory:
    """One pass of the base over every response."""
    pairs = {(*i.prompt, *r): (i.prompt, r) for i in items for r in i.responses}
    prompts, responses = zip(*pairs.values(), strict=True)
    lengths = [len(ids) for ids in pairs]
    starts = torch.tensor([0, *(n - 1 for n in lengths)]).cumsum(0)
    first = model.config.num_hidden_layers - num_layers
    shape = (num_layers, 2, model.config.num_key_value_heads, model.config.head_dim)
    past = torch.empty(int(starts[-1]), *shape, dtype=torch.bfloat16)
    states = torch.empty(len(lengths), model.config.hidden_size)
    for group in split_by_tokens(lengths, 4096):
        ids = [torch.tensor([*prompts[i], *responses[i]]) for i in group]
        with precision("bf16"):
            found = trunk(model)(
                input_ids=pad_sequence(ids, batch_first=True),
                use_cache=True,
                output_hidden_states=True,
            )
        layers = found.past_key_values.layers[first:]
        both = torch.stack([torch.stack([x.keys, x.values]) for x in layers])
        for row, number in enumerate(group):
            last = lengths[number] - 1
            past[starts[number] : starts[number + 1]] = both[:, :, row, :, :last].permute(
                3, 0, 1, 2, 4
            )
            states[number] = found.hidden_states[first][row, last]
    return Memory(past, states, starts, {ids: n for n, ids in enumerate(pairs)})


def saved_memory(
    model: PreTrainedModel, items: Sequence[RankedPrompt], num_layers: int, path: Path
) -> Memory:
    """The same, made once."""
    if not path.is_file():
        made = remember(model, items, num_layers)
        tensors = {"past": made.past, "states": made.states, "starts": made.starts}
        save_file(tensors, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
    sequences = dict.fromkeys((*i.prompt, *r) for i in items for r in i.responses)
    found = load_file(path)
    numbers = {ids: n for n, ids in enumerate(sequences)}
    return Memory(found["past"], found["states"], found["starts"], numbers)


def keep_top(model: PreTrainedModel, num_layers: int) -> None:
    """Leave only the trained layers in the trunk."""
    layers = trunk(model).layers[-num_layers:]
    for number, layer in enumerate(layers):
        layer.self_attn.layer_idx = number
    trunk(model).layers = layers
    model.config.num_hidden_layers = num_layers


def score_last(
    model: PreTrainedModel, items: Sequence[RankedPrompt], memories: Sequence[Memory]
) -> Tensor:
    """Scores of all responses; one that stands in several items is computed once."""
    sequences = [(*item.prompt, *response) for item in items for response in item.responses]
    place = {ids: n for n, ids in enumerate(dict.fromkeys(sequences))}
    parts, states = [], []
    for ids in place:
        memory = next(m for m in memories if ids in m.numbers)
        number = memory.numbers[ids]
        parts.append(memory.past[memory.starts[number] : memory.starts[number + 1]])
        states.append(memory.states[number])
    lengths = torch.tensor([len(part) for part in parts])
    seen = torch.arange(int(lengths.max()) + 1) < lengths[:, None]
    seen[:, -1] = True  # itself, behind the padding
    found = trunk(model)(
        inputs_embeds=torch.stack(states)[:, None],
        position_ids=lengths[:, None],
        attention_mask=seen[:, None, None],
        past_key_values=Past(pad_sequence(parts, batch_first=True)),
        use_cache=False,
    ).last_hidden_state
    scores: Tensor = head_scores(model, found[:, 0])[[place[ids] for ids in sequences]]
    return scores
