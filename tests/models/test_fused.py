"""Each kernel beside the same written down in PyTorch in fp64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from preceptor.models import fused, kernels
from preceptor.models.packing import Batches, pack, pack_groups

pytestmark = pytest.mark.skipif(not kernels.available(), reason=kernels.missing())
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 2**-8}
DTYPES = pytest.mark.parametrize("dtype", CLOSE)
WIDTHS = pytest.mark.parametrize("width", [1, 7, 64, 130])


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).requires_grad_()


def gradients(found: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(9))
    loss = (found.double() * weights).sum()
    return list(torch.autograd.grad(loss, inputs, retain_graph=True))


def alike(found: Tensor, expected: Tensor, dtype: torch.dtype, roundings: int = 1) -> None:
    """A gradient is rounded twice: as it is given, and as it is passed on."""
    with torch.no_grad():
        scale = max(1.0, float(expected.abs().max()))
        gap = float((found.double() - expected.double()).abs().max()) / scale
    assert gap <= roundings * CLOSE[dtype], gap


def normed(x: Tensor, weight: Tensor) -> Tensor:
    x = x.double()
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double()


@DTYPES
@WIDTHS
@pytest.mark.parametrize("rows", [1, 33, 100])
def test_a_norm_and_what_it_learns(rows, width, dtype):
    x, weight = draw(rows, width), draw(width, seed=1)
    found = fused.rms_norm(x, weight, 1e-5, dtype)
    assert found.dtype == dtype
    alike(found, normed(x, weight), dtype)
    for ours, theirs in zip(
        gradients(found, [x, weight]), gradients(normed(x, weight), [x, weight]), strict=True
    ):
        alike(ours, theirs, dtype, 2)


@DTYPES
@WIDTHS
def test_a_sum_and_its_norm_with_a_gradient_through_both(width, dtype):
    x, y, weight = draw(3, 11, width), draw(3, 11, width, dtype=dtype, seed=1), draw(width, seed=2)
    total, norm = fused.add_rms_norm(x, y, weight, 1e-5)
    expected = x.double() + y.double()
    alike(total, expected, torch.float32)
    alike(norm, normed(expected, weight), dtype)
    inputs = [x, y, weight]
    for both in (True, False):  # of the sum alone, too: the norm may be needed by nobody
        ours = torch.cat([total, norm.float() * both], -1)
        theirs = torch.cat([expected, normed(expected, weight) * both], -1)
        for a, b in zip(gradients(ours, inputs), gradients(theirs, inputs), strict=True):
            alike(a, b, dtype, 2)
    alike(fused.add(x, y), expected, torch.float32)


@DTYPES
@WIDTHS
@pytest.mark.parametrize("parted", [False, True])
def test_swiglu_also_of_the_parts_of_a_wider_product(width, parted, dtype):
    both = draw(5, 3, 2 * width, dtype=dtype)
    gate, up = both.split(width, -1) if parted else (x.contiguous() for x in both.split(width, -1))
    with torch.no_grad():
        both[0, 0, 0], both[1, 0, 0], both[2, 0, 0] = 90.0, -90.0, 0.0
    gate, up = (x.detach().requires_grad_() for x in (gate, up))
    found, expected = fused.swiglu(gate, up), silu(gate.double()) * up.double()
    alike(found, expected, dtype)
    for a, b in zip(gradients(found, [gate, up]), gradients(expected, [gate, up]), strict=True):
        alike(a, b, dtype, 2)


def turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines


@DTYPES
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("rotates", [False, True])
def test_rows_become_heads_turned_by_their_positions_and_come_back(rotates, shared, dtype):
    batch, length, heads, width = 3, 5, 2, 8
    rows = draw(batch, length, heads * width, dtype=dtype)
    angles = draw(1 if shared else batch, length, width, seed=1).detach()
    rotation = (angles.cos(), angles.sin()) if rotates else None
    batches = Batches(((batch, length),), (None,), batch * length, batch * length)
    (found,) = fused.to_heads(rows, batches, heads, rotation, 0.3)
    expected = rows.double().view(batch, length, heads, width)
    if rotates:
        expected = turned(expected, *(each.double()[:, :, None] for each in rotation)) * 0.3
    alike(found, expected.transpose(1, 2), dtype)
    alike(*gradients(found, [rows]), *gradients(expected.transpose(1, 2), [rows]), dtype, 2)
    back = fused.from_heads((found,), batches)
    alike(back, expected.flatten(0, 1).flatten(1), dtype)
    alike(*gradients(back, [rows]), *gradients(expected.flatten(0, 1).flatten(1), [rows]), dtype, 2)


@pytest.mark.parametrize(
    "packing", [pack([3, 17, 1]), pack_groups([3, 20], [[2, 5], [1, 4]])], ids=["plain", "groups"]
)
def test_a_packed_row_becomes_batches_of_zeros_but_for_its_tokens(packing):
    size = len(packing.positions)
    rows = draw(1, size, 6)
    parts = fused.to_heads(rows, packing.batches, 3, None)
    flat = torch.cat([part.transpose(1, 2).reshape(-1, 6) for part in parts])
    inside = packing.index < packing.count
    torch.testing.assert_close(flat[inside], rows[0, packing.index[inside]])
    assert not flat[~inside].any()
    back = fused.from_heads(parts, packing.batches)
    torch.testing.assert_close(back[: packing.count], rows[0, : packing.count])
    assert not back[packing.count :].any()
    (found,) = gradients(back, [rows])
    assert not found[0, packing.count :].any() and found[0, : packing.count].all()


@DTYPES
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 7), (1, 9), (40, 40)])
@pytest.mark.parametrize("masks", [0, 1, 2])
def test_weights_of_attention_and_their_gradient(queries, keys, masks, dtype):
    batch, groups, repeats = 2, 2, 3
    scores = draw(batch, groups, repeats * queries, keys, dtype=dtype)
    mask = None
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)[None, None]
    if masks:
        mask = torch.rand(masks, 1, queries, keys, generator=torch.Generator().manual_seed(3)) < 0.6
        mask[..., 0] = True
        seen = mask
    wide = scores.double().view(batch, groups * repeats, queries, keys)
    expected = wide.masked_fill(~seen, -torch.inf).softmax(-1).view(scores.shape)
    found = fused.masked_softmax(scores * 1.0, mask, queries)
    alike(found, expected, dtype)
    alike(*gradients(found, [scores]), *gradients(expected, [scores]), dtype, 2)


def test_a_query_that_may_see_nothing_weighs_nothing():
    mask = torch.tensor([True, False])[:, None, None, None].expand(2, 1, 1, 4)
    found = fused.masked_softmax(torch.full((2, 1, 1, 4), 1e30), mask, 1)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([0.25, 0.0]))
    query, key = torch.ones(2, 1, 1, 16), torch.ones(2, 1, 4, 16)
    found = fused.single_query(query, key, key, mask)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([1.0, 0.0]))


@DTYPES
@pytest.mark.parametrize("width", fused.WIDTHS)
@pytest.mark.parametrize(("groups", "heads"), [(1, 4), (2, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_one_query_is_answered_as_pytorch_does(width, groups, heads, masked, dtype):
    query = draw(3, heads, 1, width, dtype=dtype).detach()
    key, value = (draw(3, groups, 11, width, dtype=dtype, seed=s).detach() for s in (1, 2))
    mask = None
    if masked:
        mask = torch.rand(3, 1, 1, 11, generator=torch.Generator().manual_seed(1)) < 0.5
        mask[..., 3] = True
        key[:, :, ~mask[:, 0, 0].any(0)] = torch.nan  # what nobody may see is not looked at
    found = fused.single_query(query, key, value, mask)
    wide = (x.double().nan_to_num() for x in (query, key, value))
    expected = scaled_dot_product_attention(*wide, mask, scale=1.0, enable_gqa=True)
    alike(found, expected, dtype)


@DTYPES
@pytest.mark.parametrize("words", [1, 16, 37, 1000])
def test_numbers_of_words_are_those_of_a_softmax_in_fp64(words, dtype):
    logits = draw(9, words).detach() * 5
    logits[0, 0], logits[1] = 60.0, -1e4  # a sure token; and such as are impossible but for one
    logits[1, -1] = 3.0
    logits[2] += 5000.0  # softmax does not see it
    tokens = torch.randint(words, (9,), generator=torch.Generator().manual_seed(1))
    tokens[0] = 0
    wide = logits.double().requires_grad_()
    nats = wide.log_softmax(-1)
    told = nats.gather(-1, tokens[:, None])[:, 0]
    (expected,) = torch.autograd.grad(told.sum(), wide)
    slopes = torch.empty_like(logits, dtype=dtype)
    logprobs, entropies = fused.word_numbers(logits, tokens, slopes, with_entropy=True)
    torch.testing.assert_close(logprobs.double(), told.detach(), atol=2e-6, rtol=2e-6)
    alike(entropies, -(nats.exp() * nats).sum(-1), torch.float32, 4)
    alike(slopes, expected, dtype)
    if words > 1:
        torch.testing.assert_close(slopes[0, 0].double(), expected[0, 0], atol=0, rtol=0.02)
    again, none = fused.word_numbers(logits, tokens, None, with_entropy=False)
    assert torch.equal(again, logprobs) and none is None
    if dtype == torch.float32:
        fused.word_numbers(logits, tokens, logits, with_entropy=False)
        assert torch.equal(logits, slopes)


def test_more_queries_than_keys_leave_the_first_with_nothing():
    weights = fused.masked_softmax(torch.zeros(1, 1, 4, 2), None, 4)
    assert weights[0, 0].tolist() == [[0, 0], [0, 0], [1, 0], [0.5, 0.5]]


def test_a_head_of_another_width_is_refused():
    with pytest.raises(ValueError, match="width is 48"):
        fused.single_query(*(torch.zeros(1, 1, n, 48) for n in (1, 3, 3)), None)


def test_tokens_that_are_none_are_refused_and_others_may_lie_as_they_like():
    logits = draw(4, 32).detach()
    for wrong in (32, -1):
        with pytest.raises(IndexError, match="none of the 32 of the vocabulary"):
            fused.word_numbers(logits, torch.tensor([0, 1, wrong, 2]), None, with_entropy=False)
    tokens = torch.arange(8).view(4, 2)[:, 1].int()
    found, _ = fused.word_numbers(logits, tokens, None, with_entropy=False)
    expected = logits.log_softmax(-1).gather(-1, tokens.long()[:, None])[:, 0]
    torch.testing.assert_close(found, expected)


def test_no_number_depends_on_how_many_threads_there_are():
    x, y, weight = draw(100, 64), draw(100, 64, seed=1), draw(64, seed=2)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            total, norm = fused.add_rms_norm(x, y, weight, 1e-5)
            made = fused.swiglu(total, norm)
            found.append([made, *gradients(made, [x, y, weight])])
        finally:
            torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_numbers_are_rounded_to_bf16_as_pytorch_rounds_them():
    weight = draw(10_000).detach()
    weight[:4] = torch.tensor([torch.inf, -torch.inf, 1e-40, 0.0])
    weight[4:6] = 1.0 + torch.tensor([2**-8, 3 * 2**-8])  # between two numbers of bf16: to even
    rounded = fused.rms_norm(torch.ones(1, 10_000), weight, 0.0, torch.bfloat16)
    assert torch.equal(rounded[0], weight.bfloat16())


def test_they_take_one_precision_on_the_cpu():
    x = torch.zeros(2)
    assert fused.takes(x) and fused.takes(x.bfloat16())
    assert not fused.takes(x.half()) and not fused.takes(x, x.bfloat16())
    assert not fused.takes(torch.zeros(2, device="meta"))
