"""The plain products must be PyTorch's own attention, whatever the mask and the heads."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from toys import tiny_model

from preceptor.models import attention
from preceptor.models.attention import plain_attention, prefer_plain_attention


def tensors(length: int, keys: int, groups: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(length + keys + groups)
    shapes = [(2, 4, length, 8), (2, groups, keys, 8), (2, groups, keys, 8)]
    return [torch.randn(s, generator=generator, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("length", "keys"), [(5, 5), (1, 7), (3, 7)])
@pytest.mark.parametrize("kind", ["boolean", "additive"])
@pytest.mark.parametrize("few", [0, attention.FEW])
@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_pytorchs_attention_gradients_too(
    groups, length, keys, kind, few, compiled, monkeypatch
):
    monkeypatch.setattr(attention, "FEW", few)
    if not compiled:
        monkeypatch.setattr(attention, "takes", lambda *_: False)
    query, key, value = tensors(length, keys, groups)
    mask = torch.rand(2, 1, length, keys, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[..., 0] = True
    given = mask if kind == "boolean" else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    expected = scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
    found = plain_attention(query, key, value, given, None)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (query, key, value)),
        torch.autograd.grad((expected * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2])
def test_a_row_that_may_see_nothing_is_finite(length):
    query, key, value = tensors(length, 2, 4)
    mask = torch.tensor([[True, False], [False, False]])[None, None, -length:]
    for dtype in (torch.float32, torch.bfloat16):
        found = plain_attention(query.to(dtype), key.to(dtype), value.to(dtype), mask, None)
        assert torch.isfinite(found).all()


def test_masked_keys_weigh_exactly_nothing():
    query, key, value = tensors(1, 4, 4)
    mask = torch.tensor([True, True, False, True])[None, None, None]
    before = plain_attention(query * 100, key, value, mask, None)
    with torch.no_grad():
        key[:, :, 2], value[:, :, 2] = 50.0, 1e6
    torch.testing.assert_close(
        plain_attention(query * 100, key, value, mask, None), before, atol=0, rtol=0
    )


@pytest.mark.parametrize("kind", ["llama", "gqa", "gpt2"])
def test_a_model_says_the_same_with_plain_products_and_with_the_fused_kernel(kind, monkeypatch):
    fused = tiny_model(kind)
    fused.set_attn_implementation("sdpa")
    plain = tiny_model(kind)
    plain.load_state_dict(fused.state_dict())
    plain.set_attn_implementation("sdpa")
    prefer_plain_attention(plain)
    ids = torch.arange(6, 18).view(2, 6)
    seen = []
    real = attention.plain_attention
    monkeypatch.setattr(attention, "plain_attention", lambda *a: seen.append(1) or real(*a))
    torch.testing.assert_close(plain(ids).logits, fused(ids).logits, atol=1e-5, rtol=1e-5)
    assert seen
    # With a cache: the next tokens see everything before them.
    first = [m(ids[:, :4], use_cache=True) for m in (plain, fused)]
    rest = [
        m(ids[:, 4:], past_key_values=out.past_key_values)
        for m, out in zip((plain, fused), first, strict=True)
    ]
    torch.testing.assert_close(rest[0].logits, rest[1].logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rest[0].logits, fused(ids).logits[:, 4:], atol=1e-5, rtol=1e-5)


def test_long_sequences_keep_the_fused_kernel(monkeypatch):
    monkeypatch.setattr(attention, "LONGEST", 4)
    monkeypatch.setattr(attention, "plain_attention", None)  # would be called in vain
    model = tiny_model("llama")
    model.set_attn_implementation("sdpa")
    prefer_plain_attention(model)
    assert torch.isfinite(model(torch.arange(6, 12)[None]).logits).all()


def test_a_single_query_takes_the_plain_products_however_many_keys(monkeypatch):
    """They take a third of the fused kernel's time there, and no memory worth sparing."""
    monkeypatch.setattr(attention, "LONGEST", 4)
    fused = tiny_model("llama")
    fused.set_attn_implementation("sdpa")
    plain = tiny_model("llama")
    before = [m(torch.arange(6, 12)[None], use_cache=True) for m in (plain, fused)]
    seen = []
    real = attention.plain_attention
    monkeypatch.setattr(attention, "plain_attention", lambda *a: seen.append(1) or real(*a))
    after = [
        m(torch.tensor([[7]]), past_key_values=out.past_key_values).logits
        for m, out in zip((plain, fused), before, strict=True)
    ]
    assert len(seen) == plain.config.num_hidden_layers
    torch.testing.assert_close(*after, atol=1e-5, rtol=1e-5)


def test_a_choice_that_the_user_made_is_kept():
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    prefer_plain_attention(model)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("width", [16, 32])
def test_values_may_be_narrower_than_keys(width):
    """As multi-head latent attention has them."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 4, n, width, generator=generator) for n in (1, 7))
    value = torch.randn(2, 4, 7, 16, generator=generator)
    expected = scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(plain_attention(query, key, value, None, None), expected)
