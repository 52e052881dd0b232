"""SFT counts response tokens only, learns to stop, and keeps the epoch that the recipe asks for."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loading import load_records
from toys import END, tiny_model, tiny_tokenizer

from preceptor.config import LoRAConfig, SFTConfig
from preceptor.data.batching import encode_demonstrations
from preceptor.data.records import Demonstration
from preceptor.generation import row_uniforms, sample
from preceptor.models.halves import halve_frozen
from preceptor.models.load import load_policy, save_model, scalar_from_policy, with_lora
from preceptor.stages.pretrain import next_text, sequence_losses
from preceptor.stages.sft import demonstration_losses, num_text_sequences, run_sft
from preceptor.training.folder import StageFolder
from preceptor.training.optimization import make_optimizer

PROMPTS = [[i, 3] for i in range(6, 30)]
RESPONSES = [[i, i, END] for i in range(6, 30)]  # say the letter twice, then stop
OPTIONS = {
    "num_epochs": 8,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "checkpoint_every": 3,
    "choose_by": "last",
}


def run(path, *, policy=None, pairs=(PROMPTS, RESPONSES), valid=None, pretraining=None, **options):
    folder = StageFolder(path / "sft", "sft", "inputs")
    run_sft(
        SFTConfig.model_validate(OPTIONS | options),
        folder,
        policy=policy or tiny_model("llama"),
        tokenizer=tiny_tokenizer(),
        train=pairs,
        valid=valid or pairs,
        valid_prompts=PROMPTS[:4],
        pretraining=pretraining,
        max_response_tokens=6,
        seed=0,
    )
    lines = [json.loads(x) for x in (path / "sft/metrics.jsonl").read_text().splitlines()]
    return lines, json.loads((path / "sft/done.json").read_text())["summary"]


def test_it_learns_the_task_and_to_stop(tmp_path):
    run(tmp_path, num_epochs=60)
    model, _ = load_policy(tmp_path / "sft" / "model")
    uniforms = row_uniforms(0, "x", [(i,) for i in range(len(PROMPTS))], 6)
    generated = sample(model, PROMPTS, uniforms, stop_ids=[END], temperature=0)
    assert sum(generated.finished) / len(PROMPTS) > 0.95
    right = sum(r == e for r, e in zip(generated.responses, RESPONSES, strict=True))
    assert right / len(PROMPTS) > 0.9


def test_a_reward_model_chooses_with_bf16_adapters_too(tmp_path):
    """As a user of smollm2 has it: sampling and scoring run in the stage's precision."""
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "start")
    save_model(scalar_from_policy(tmp_path / "start", 1), tiny_tokenizer(), tmp_path / "rm")
    policy = with_lora(tiny_model("llama"), LoRAConfig(rank=2), seed=0)
    halve_frozen(policy, "all")
    lines, summary = run(
        tmp_path,
        policy=policy,
        num_epochs=2,
        precision="bf16",
        lora={"rank": 2},
        choose_by="reward_model",
        reward_model=str(tmp_path / "rm"),
    )
    scores = {line["step"]: line["sft/valid_score"] for line in lines if "sft/valid_score" in line}
    assert len(scores) == 2
    assert scores[summary["chosen_step"]] == max(scores.values())


def test_the_loss_counts_the_response_only():
    model = tiny_model("llama")
    loss = sum(demonstration_losses(model, [[6, 7]], [[8, END]], SFTConfig()))
    logits = model(torch.tensor([[6, 7, 8, END]])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[1:3], torch.tensor([8, END]))
    torch.testing.assert_close(loss, expected)


def test_the_loss_can_count_the_prompt_too():
    model = tiny_model("llama")
    config = SFTConfig(loss_on_prompt=True)
    loss = sum(demonstration_losses(model, [[6, 7]], [[8, END]], config))
    logits = model(torch.tensor([[6, 7, 8, END]])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[:3], torch.tensor([7, 8, END]))
    torch.testing.assert_close(loss, expected)


def test_the_epoch_of_lowest_held_out_loss_is_kept(tmp_path):
    """Held-out demonstrations say something else, so more training makes them less likely."""
    valid = (PROMPTS[::-1], RESPONSES)  # each prompt with another's response
    lines, summary = run(tmp_path, valid=valid, choose_by="valid_loss", num_epochs=30)
    looks = {x["step"]: x["sft/valid_loss"] for x in lines if "sft/valid_loss" in x}
    assert summary["chosen_step"] == min(looks, key=looks.get)
    assert summary["chosen_step"] < max(looks)


def test_an_earlier_reward_model_can_choose(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "start")
    model = scalar_from_policy(tmp_path / "start", seed=1)
    from preceptor.models.load import save_model

    save_model(model, tiny_tokenizer(), tmp_path / "rm")
    lines, summary = run(
        tmp_path, choose_by="reward_model", reward_model=str(tmp_path / "rm"), num_epochs=4
    )
    looks = {x["step"]: x["sft/valid_score"] for x in lines if "sft/valid_score" in x}
    assert summary["chosen_step"] == max(looks, key=looks.get)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch, share):
    text = np.random.default_rng(0).integers(6, 32, size=(40, 8)).astype(np.int32)
    options = {"ptx_fraction": share, "pretraining": text, "ptx_sequence_length": 8}
    run(tmp_path / "whole", **options)
    original, calls = StageFolder.log, []

    def dies(self, *args):
        calls.append(1)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(StageFolder, "log", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", **options)
    monkeypatch.setattr(StageFolder, "log", original)
    run(tmp_path / "killed", **options)
    for name in ("metrics.jsonl", "model/model.safetensors"):
        whole, killed = (tmp_path / side / "sft" / name for side in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()


def test_text_mixed_in_is_remembered(tmp_path):
    """InstructGPT appendix C.3: a model for PPO to start from sees pretraining text as well."""
    text = np.tile(np.array([6, 7, 8, 9, 6, 7, 8, 9], dtype=np.int32), (40, 1))
    options = {"num_epochs": 20, "pretraining": text, "ptx_sequence_length": 8}
    plain, _ = run(tmp_path / "plain", ptx_fraction=0.0, **options)
    mixed, _ = run(tmp_path / "mixed", ptx_fraction=0.2, **options)
    assert "sft/ptx_loss" not in plain[0]
    assert mixed[-1]["sft/ptx_loss"] < 0.5 * mixed[0]["sft/ptx_loss"]

    def loss(path):
        tokens = torch.from_numpy(text[:1].astype(np.int64))
        model, _ = load_policy(path / "sft" / "model")
        with torch.no_grad():
            return float(sum(sequence_losses(model, tokens, 64, "fp32")))

    assert loss(tmp_path / "mixed") < loss(tmp_path / "plain") - 0.5


def test_the_share_of_text_is_a_share_of_examples():
    assert num_text_sequences(36, 0.1) == 4  # four of forty
    assert num_text_sequences(2, 0.1) == 1  # at least one


def test_text_weighs_by_its_share(tmp_path, monkeypatch):
    """One step on 0.8 times the demonstrations' loss plus 0.2 times the text's, and no other."""
    from preceptor.stages import sft as stage

    text = np.random.default_rng(0).integers(6, 32, size=(40, 8)).astype(np.int32)
    norms = []
    original = stage.take_step

    def spy(optimizer, **options):
        norms.append(
            torch.cat([p.grad.flatten() for g in optimizer.param_groups for p in g["params"]])
        )
        return original(optimizer, **options)

    monkeypatch.setattr(stage, "take_step", spy)
    options = {"batch_size": len(PROMPTS), "num_epochs": 1, "pretraining": text}
    run(tmp_path, ptx_fraction=0.2, ptx_sequence_length=8, **options)
    model = tiny_model("llama")
    config = SFTConfig(ptx_fraction=0.2)
    tokens = next_text(text, 6, 0, seed=0, purpose="sft/ptx")  # six of thirty
    loss = 0.8 * sum(demonstration_losses(model, PROMPTS, RESPONSES, config))
    (loss + 0.2 * sum(sequence_losses(model, tokens, 4096, "fp32"))).backward()
    optimizer = make_optimizer(model, config)
    expected = [p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]
    torch.testing.assert_close(norms[0], torch.cat(expected), atol=1e-6, rtol=1e-4)


def test_a_share_without_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ptx_fraction 0.2 needs pretraining text"):
        run(tmp_path, ptx_fraction=0.2)


def test_a_conversation_is_learned_on_its_assistant_turns_only(tmp_path):
    """Read as several examples it has the loss of one row, masked to what the assistant said."""
    tokenizer, model = tiny_tokenizer(), tiny_model("llama")
    tokenizer.chat_template = (
        "{% for turn in messages %}{{ turn['role'] }} : {{ turn['content'] }} "
        "{% if turn['role'] == 'assistant' %}<end> {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}assistant : {% endif %}"
    )
    said = ["a b", "c d e", "f", "g h", "i", "j k l m"]
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]
    (tmp_path / "d.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    read = load_records(tmp_path / "d.jsonl", Demonstration).records
    prompts, responses = encode_demonstrations(
        read, tokenizer, max_prompt_tokens=99, max_response_tokens=99, where="d"
    )
    mean = sum(demonstration_losses(model, prompts, responses, SFTConfig()))

    whole, counts = [], []
    for turn in turns:
        words = tokenizer.encode(turn["content"], add_special_tokens=False)
        end = [END] if turn["role"] == "assistant" else []
        head = tokenizer.encode(f"{turn['role']} :", add_special_tokens=False)
        whole += [*head, *words, *end]
        counts += [False] * len(head) + [bool(end)] * len(words + end)
    row, mask = torch.tensor(whole), torch.tensor(counts)
    losses = F.cross_entropy(model(row[None]).logits[0, :-1].float(), row[1:], reduction="none")
    assert int(mask.sum()) == 12  # nine words and three ends
    torch.testing.assert_close(mean, losses[mask[1:]].mean(), rtol=1e-5, atol=1e-5)
