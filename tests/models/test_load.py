"""Folders that are no models are refused by name; tokenizers get a pad; LoRA starts at nothing."""

import copy
import json

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from toys import WORDS, tiny_model, tiny_tokenizer

from preceptor.config import LoRAConfig
from preceptor.errors import DataError
from preceptor.generation import row_uniforms, sample
from preceptor.models.forward import make_rows, response_logprobs, response_scores
from preceptor.models.halves import halve_frozen, whole_weights
from preceptor.models.load import (
    before_training,
    halved_base,
    load_policy,
    load_scalar,
    save_model,
    scalar_from_policy,
    scalar_head,
    with_lora,
)
from preceptor.models.precision import precision
from preceptor.models.tokenizers import check_tokenizer, encode_prompt, prepare_tokenizer

ROWS = make_rows([[6, 7], [8]], [[9, 1], [10, 11, 1]])


def test_a_model_comes_back_as_it_was_saved(tmp_path):
    model = tiny_model("llama")
    save_model(model, tiny_tokenizer(), tmp_path / "model")
    again, tokenizer = load_policy(tmp_path / "model")
    assert torch.equal(response_logprobs(model, ROWS), response_logprobs(again, ROWS))
    assert tokenizer.pad_token_id == 0 and not list(tmp_path.glob("*.partial"))


def test_a_scalar_model_keeps_every_tensor_its_bias_included(tmp_path):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "policy")
    model = scalar_from_policy(tmp_path / "policy", seed=1)
    with torch.no_grad():
        scalar_head(model).bias.fill_(-1.75)
    save_model(model, tiny_tokenizer(), tmp_path / "rm")
    again = load_scalar(tmp_path / "rm")
    assert torch.equal(response_scores(model, ROWS), response_scores(again, ROWS))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "absent" / "deeper", "no such folder"),
        (lambda p: p, "config.json is missing"),
        (lambda p: [(p / "config.json").write_text("{"), p][1], "not JSON"),
        (lambda p: [(p / "config.json").write_text("{}"), p][1], "not a model folder"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        load_policy(make(tmp_path))


def test_weights_that_lack_something_are_refused_and_never_made_up(tmp_path):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(DataError, match=r"weights lack model.layers.2.* and \d+ more"):
        load_policy(tmp_path)
    with pytest.raises(DataError, match="weights lack model.layers.2"):
        scalar_from_policy(tmp_path, seed=0)


@pytest.mark.parametrize("value", ["many", -1, None, [2]])
def test_a_config_of_the_wrong_kind_is_a_message(tmp_path, value):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": value}))
    with pytest.raises(DataError, match="not a model folder that can be read|weights lack"):
        load_policy(tmp_path)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match="A model is a folder"):
        load_policy(tmp_path / "model.bin")


def test_a_pickled_model_is_not_opened(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(DataError, match="not a model folder"):
        load_policy(tmp_path)


def test_a_template_that_refuses_a_conversation_is_a_message():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system role here') }}"
    with pytest.raises(DataError, match="refuses a conversation of system, user: no system role"):
        encode_prompt(
            tokenizer, [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
        )


def test_a_pad_that_is_the_end_token_is_replaced_or_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(DataError, match="pad token must differ"):
        check_tokenizer(tokenizer, "here")
    prepare_tokenizer(tokenizer, vocabulary_size=32)
    check_tokenizer(tokenizer, "here")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize("kind", ["llama", "gqa", "gpt2"])
def test_adapters_change_nothing_at_first_and_are_merged_when_saved(tmp_path, kind):
    model, plain = tiny_model(kind), tiny_model(kind)
    with_lora(model, LoRAConfig(rank=2), seed=0)
    assert torch.equal(response_logprobs(model, ROWS), response_logprobs(plain, ROWS))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    moved = response_logprobs(model, ROWS)
    assert not torch.allclose(moved, response_logprobs(plain, ROWS), atol=1e-2)
    save_model(model, tiny_tokenizer(), tmp_path / "model")
    merged, _ = load_policy(tmp_path / "model")
    torch.testing.assert_close(response_logprobs(merged, ROWS), moved, atol=1e-4, rtol=0)


def test_other_values_for_a_tied_head_are_saved_once_and_load_as_one_model(tmp_path):
    """A moving average is kept under the embedding's name only; the head is the same parameter."""
    model = tiny_model("llama")
    generator = torch.Generator().manual_seed(3)
    average = {
        name: value.detach() + 0.3 * torch.randn(value.shape, generator=generator)
        for name, value in model.named_parameters()
    }
    save_model(model, tiny_tokenizer(), tmp_path / "model", average)
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - safe_open is no mapping
    loaded, _ = load_policy(tmp_path / "model")
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(average[name])
    assert torch.equal(response_logprobs(loaded, ROWS), response_logprobs(model, ROWS))


def test_a_scalar_model_with_adapters_trains_its_head_too(tmp_path):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "policy")
    model = with_lora(scalar_from_policy(tmp_path / "policy", 1), LoRAConfig(rank=2), 0)
    assert scalar_head(model).weight.requires_grad and scalar_head(model).bias.requires_grad


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_value_model_in_training_still_scores_as_the_reward_model_it_began_as(tmp_path, dtype):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path)
    halved = halved_base(LoRAConfig(), dtype)
    reward, value = (scalar_from_policy(tmp_path, 1, halved) for _ in range(2))
    reward.requires_grad_(False)
    head = copy.deepcopy(scalar_head(value)).requires_grad_(False)
    value = with_lora(value, LoRAConfig(rank=2), 0)
    with torch.no_grad():  # training
        for parameter in value.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    trained = scalar_head(value)
    with precision(dtype), torch.no_grad():
        wanted = response_scores(reward, ROWS)
        with before_training(value, head):
            assert torch.equal(response_scores(value, ROWS), wanted)
        assert scalar_head(value) is trained
        assert not torch.allclose(response_scores(value, ROWS), wanted, atol=1e-2)


def test_what_bf16_holds_whole_has_no_rest():
    model = tiny_model("llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.bfloat16))
    model = with_lora(model, LoRAConfig(rank=2), 0)
    halve_frozen(model, "all")
    assert not whole_weights(model)


def test_a_frozen_scalar_head_stays_fp32_and_scores_in_it(tmp_path):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path)
    plain, halved = (scalar_from_policy(tmp_path, seed=1).requires_grad_(False) for _ in range(2))
    for model in (plain, halved):
        scalar_head(model).bias.fill_(2.001)  # between two numbers of bf16
    halve_frozen(halved, "blocks")
    assert scalar_head(halved).weight.dtype == scalar_head(halved).bias.dtype == torch.float32
    with precision("bf16"):
        assert torch.equal(response_scores(plain, ROWS), response_scores(halved, ROWS))


def test_frozen_matrices_in_bf16_compute_what_autocast_does():
    plain, halved = tiny_model("llama"), tiny_model("llama")
    halve_frozen(halved.requires_grad_(False), "blocks")
    with precision("bf16"):
        assert torch.equal(response_logprobs(plain, ROWS), response_logprobs(halved, ROWS))


def test_a_change_smaller_than_steps_of_bf16_outlives_saving_and_halving(tmp_path):
    start, model = tiny_model("llama"), tiny_model("llama")
    model = with_lora(model, LoRAConfig(rank=2), 0)
    halve_frozen(model, "all")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=3e-5, generator=torch.Generator().manual_seed(1))
    save_model(model, tiny_tokenizer(), tmp_path)
    loaded, _ = load_policy(tmp_path)
    adapters = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    assert adapters
    kept = learned = steps = 0.0
    before = {name: start.state_dict()[f"{name}.weight"].clone() for name in adapters}
    halve_frozen(loaded.requires_grad_(False), "all")
    for name, layer in adapters.items():
        up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
        change = layer.scaling["default"] * (up @ down).detach()
        halved_before = before[name].to(torch.bfloat16).float()
        halved_after = loaded.state_dict()[f"{name}.weight"].float()
        kept += float((change * (halved_after - halved_before)).sum())
        learned += float(change.square().sum())
        steps += float((halved_before - before[name]).square().sum())
    assert learned < 0.2 * steps  # far below what bf16 rounds away from each weight
    assert kept == pytest.approx(learned, rel=0.2)


def test_a_new_scalar_head_has_the_papers_spread(tmp_path):
    """Stiennon et al.'s code: std 1 / sqrt(D + 1), bias 0; over many seeds, for D is 16 here."""
    tiny_model("llama").save_pretrained(tmp_path)
    heads = [scalar_head(scalar_from_policy(tmp_path, seed)) for seed in range(40)]
    weights = torch.stack([head.weight for head in heads])
    assert float(weights.detach().std()) == pytest.approx(1 / 17**0.5, rel=0.08)  # 640 numbers: 3 %
    assert all(float(head.bias.detach()) == 0.0 for head in heads)


def test_padding_of_the_vocabulary_is_never_sampled_nor_counted(tmp_path):
    """Eight rows of the embedding that no token has, made likely; saved and loaded twice."""
    wide = tiny_model("llama")
    wide.resize_token_embeddings(len(WORDS) + 8)
    with torch.no_grad():
        wide.get_input_embeddings().weight[len(WORDS) :] *= 30.0
    save_model(wide, tiny_tokenizer(), tmp_path / "a")
    first, tokenizer = load_policy(tmp_path / "a")
    save_model(first, tokenizer, tmp_path / "b")
    model, _ = load_policy(tmp_path / "b")
    uniforms = row_uniforms(0, "t", [(i,) for i in range(64)], 8)
    found = sample(model, [[6, 7]] * 64, uniforms, stop_ids=[1])
    assert max(max(response) for response in found.responses) < len(WORDS)
    likely = wide(torch.arange(len(WORDS))[None]).logits[0].argmax(-1)
    assert int(likely.max()) >= len(WORDS)  # left alone, they would be
    # Over the tokens that there are, probabilities sum to 1, in the training forward too.
    rows = make_rows([[6, 7]] * len(WORDS), [[token] for token in range(len(WORDS))])
    logprobs = response_logprobs(model, rows).detach()
    assert float(logprobs.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    kept = [logprob for row in found.logprobs for logprob in row]
    again = response_logprobs(model, make_rows([[6, 7]] * 64, found.responses)).detach()
    assert sum(kept) == pytest.approx(float(again.sum()), rel=1e-4)


def test_a_vocabulary_with_a_hole_keeps_its_last_token(tmp_path):
    """Thirty-two rows, thirty-one tokens: `z` has the last id and can still be said."""
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path)
    path = tmp_path / "tokenizer.json"
    inner = json.loads(path.read_text())
    del inner["model"]["vocab"]["m"]
    path.write_text(json.dumps(inner))
    model, tokenizer = load_policy(tmp_path)
    assert len(tokenizer) == len(WORDS) - 1
    last = make_rows([[6, 7]], [[len(WORDS) - 1]])
    # Not to the bit: a product of one row rounds by where its memory begins.
    torch.testing.assert_close(
        response_logprobs(model, last), response_logprobs(tiny_model("llama"), last)
    )
