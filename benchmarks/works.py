"""What both sides of the comparison do: shapes, lengths and batches, and the files they start from.

Written and read by two Python environments, so nothing of Preceptor's is imported here.
"""

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Ids = list[int]
PAD, EOS = 0, 1
"""Ids of the two special tokens; words begin after them."""


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model."""

    vocabulary: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int

    def matrix_parameters(self) -> int:
        """Weights of the blocks' matrices, by which every token is multiplied once a pass."""
        width = self.hidden_size
        groups = width * self.num_kv_heads // self.num_heads
        return self.num_layers * (2 * width * (width + groups) + 3 * width * self.intermediate_size)

    def after_attention(self) -> int:
        """Those of one layer's that come after its attention."""
        return self.hidden_size * (self.hidden_size + 3 * self.intermediate_size)


SHAPES = {
    "2M": Shape(4096, 128, 6, 2, 2, 352),
    "6M": Shape(4096, 256, 6, 4, 4, 704),
    "21M": Shape(4096, 512, 6, 8, 8, 1408),
    "135M": Shape(49152, 576, 30, 9, 3, 1536),
}
"""6M and 135M (SmolLM2's) are those of the peers' measurements; the others show how cost grows."""


@dataclass(frozen=True)
class Work:
    """One row of the table: what is done again and again by both sides in turn.

    kind     ppo, rollout, serve, reward, sft or pretrain
    batch    prompts of an iteration or a rollout, requests at once, ranked prompts or examples or
             rows of a step
    prompt   tokens of a prompt: the most that one has (serve, sft), or each has; pretrain: unused
    response tokens of a response: the most that may be sampled, or each has
    varied   responses end by themselves, half of them within a third of `response`
    lora     only adapters learn
    spare    less memory for more time; with either the peers are not run
    """

    kind: str
    shape: str
    batch: int
    prompt: int
    response: int
    varied: bool = False
    k: int = 0
    minibatches: int = 1
    unit: str = "tokens"
    lora: bool = False
    spare: bool = False


WORKS = {
    "ppo-fixed-6M": Work("ppo", "6M", 64, 32, 48, minibatches=4, unit="iterations"),
    "ppo-varied-6M": Work("ppo", "6M", 64, 32, 96, True, minibatches=4, unit="iterations"),
    "ppo-fixed-135M": Work("ppo", "135M", 16, 32, 32, minibatches=2, unit="iterations"),
    "ppo-varied-135M": Work("ppo", "135M", 16, 32, 96, True, minibatches=2, unit="iterations"),
    "ppo-spare-135M": Work("ppo", "135M", 16, 32, 32, minibatches=2, unit="iterations", spare=True),
    "ppo-lora-135M": Work(
        "ppo", "135M", 16, 32, 32, minibatches=2, unit="iterations", lora=True, spare=True
    ),
    "rollout-varied-6M": Work("rollout", "6M", 64, 32, 96, True, unit="rollouts"),
    "rollout-varied-135M": Work("rollout", "135M", 16, 32, 96, True, unit="rollouts"),
    "serve-135M": Work("serve", "135M", 32, 96, 96, True),
    "serve-64-135M": Work("serve", "135M", 64, 96, 96, True),
    "reward-k9-6M": Work("reward", "6M", 8, 128, 32, k=9, unit="comparisons"),
    "reward-k4-6M": Work("reward", "6M", 16, 128, 32, k=4, unit="comparisons"),
    "reward-k9-even-6M": Work("reward", "6M", 8, 32, 32, k=9, unit="comparisons"),
    "reward-k4-even-6M": Work("reward", "6M", 16, 32, 32, k=4, unit="comparisons"),
    "reward-k9-135M": Work("reward", "135M", 1, 128, 32, k=9, unit="comparisons"),
    "sft-6M": Work("sft", "6M", 64, 96, 96),
    "sft-135M": Work("sft", "135M", 16, 96, 96),
    "pretrain-6M": Work("pretrain", "6M", 16, 0, 256),
    "pretrain-135M": Work("pretrain", "135M", 4, 0, 256),
}


def random_ids(generator: random.Random, shape: Shape, length: int) -> Ids:
    """Words of the vocabulary, no special token among them."""
    return [generator.randrange(2, shape.vocabulary) for _ in range(length)]


def random_length(generator: random.Random, most: int) -> int:
    """Log-normal: half of them within a third of the most."""
    return max(4, min(most, round(generator.lognormvariate(math.log(most / 3), 0.6))))


def prompts_of(work: Work, count: int) -> list[Ids]:
    """Prompts of equal length, as the peer's trainer needs them."""
    generator = random.Random(f"prompts {work.kind}")
    return [random_ids(generator, SHAPES[work.shape], work.prompt) for _ in range(count)]


def requests_of(work: Work, count: int) -> list[Ids]:
    """Prompts of varied lengths, as users send them."""
    generator = random.Random("requests")
    shape = SHAPES[work.shape]
    return [
        random_ids(generator, shape, random_length(generator, work.prompt)) for _ in range(count)
    ]


def examples_of(work: Work, count: int) -> list[tuple[Ids, Ids]]:
    """Demonstrations of log-normal lengths: half of the prompts and responses within a third."""
    generator = random.Random("examples")
    shape = SHAPES[work.shape]
    return [
        (
            random_ids(generator, shape, random_length(generator, work.prompt)),
            [*random_ids(generator, shape, random_length(generator, work.response) - 1), EOS],
        )
        for _ in range(count)
    ]


def rankings_of(work: Work, count: int) -> list[tuple[Ids, list[Ids]]]:
    """Prompts with K responses, the best first."""
    generator = random.Random("rankings")
    shape = SHAPES[work.shape]
    return [
        (
            random_ids(generator, shape, work.prompt),
            [[*random_ids(generator, shape, work.response - 1), EOS] for _ in range(work.k)],
        )
        for _ in range(count)
    ]


def sequences_of(work: Work, count: int) -> list[Ids]:
    """Rows of text."""
    generator = random.Random("sequences")
    return [random_ids(generator, SHAPES[work.shape], work.response) for _ in range(count)]


def write_models(work: Work, folder: Path) -> None:
    """model/ and scalar/: the weights, the same for both sides, and their tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    shape = SHAPES[work.shape]
    words = {"<pad>": PAD, "<eos>": EOS} | {f"w{i}": i for i in range(2, shape.vocabulary)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>"
    )
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    hazard = 1 - 0.5 ** (3 / work.response) if work.varied else 0.0
    end_with_chance(model, hazard)
    for name in ("model", "scalar"):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    from transformers import LlamaForSequenceClassification

    scalar = LlamaForSequenceClassification.from_pretrained(folder / "scalar", num_labels=1)
    with torch.no_grad():
        scalar.score.weight.normal_(0.0, 1 / math.sqrt(shape.hidden_size + 1))
    scalar.save_pretrained(folder / "scalar")


def end_with_chance(model: Any, hazard: float) -> None:
    """Make every token the end token with this chance, whatever came before.

    The first coordinate of the residual stream is one and the same for all tokens, since no block
    writes it, and only the end token's row of the head looks at it. So lengths are geometric, as
    wide as a trained policy's; the arithmetic is that of any model of this shape.
    """
    import torch

    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table[:, 0] = 0.2
        table[EOS] = 0.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        ids = torch.randint(2, table.shape[0], (4, 32))
        states = model.model(ids).last_hidden_state
        others = torch.logsumexp(states @ table[2:].T, -1)
        wanted = math.log(hazard / (1 - hazard)) if hazard else -30.0
        table[EOS, 0] = ((others + wanted) / states[..., 0]).mean()


def work_named(text: str) -> Work:
    """A work by its name, or one that is not in the table by its fields in JSON."""
    return Work(**json.loads(text)) if text.startswith("{") else WORKS[text]


def write_inputs(name: str, folder: Path) -> None:
    """Everything that a worker reads."""
    work = work_named(name)
    write_models(work, folder)
    count = 64 * work.batch
    data: dict[str, Any] = {}
    if work.kind in ("ppo", "rollout"):
        data["prompts"] = prompts_of(work, count)
    elif work.kind == "serve":
        data["prompts"] = requests_of(work, count)
    elif work.kind == "reward":
        data["rankings"] = rankings_of(work, count)
    elif work.kind == "sft":
        data["examples"] = examples_of(work, 16 * work.batch)
    else:
        data["sequences"] = sequences_of(work, count)
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")


def read_inputs(folder: Path) -> dict[str, Any]:
    """What `write_inputs` wrote beside the models."""
    found: dict[str, Any] = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    return found
