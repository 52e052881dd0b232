"""The numeric references: each worked out twice in float64, by a loop and by another formula."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preceptor import functional

CASES = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))
DTYPES = {"mask": torch.bool, "tokens": torch.int64, "ranks": torch.int64}
SECOND_NAMES = {"value_loss": {"clip_fraction": "value_clip_fraction"}}
MASKED_FLOATS = {
    "masked_mean": ["x"],
    "whiten": ["x"],
    "shape_rewards": ["logprobs", "ref_logprobs"],
    "gae": ["rewards", "values"],
    "policy_loss": ["new_logprobs", "old_logprobs", "advantages"],
    "value_loss": ["values", "old_values", "returns"],
    "ranking_loss": ["scores"],
}


def name_of(case: dict[str, Any]) -> str:
    return str(case["name"])


def inputs_of(case: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: torch.tensor(value, dtype=DTYPES.get(name, dtype))
        for name, value in case["inputs"].items()
    }


def call(case: dict[str, Any], inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """Our results under the names that `expected` uses, and the stats if there are any."""
    result = getattr(functional, case["function"])(*inputs.values(), **case["kwargs"])
    if case["function"] == "gae":
        return {"advantages": result[0], "returns": result[1]}, {}
    if isinstance(result, tuple):
        return {"loss": result[0]}, result[1]
    return {"": result}, {}


def expectations(case: dict[str, Any]) -> dict[str, Any]:
    expected = case["expected"]
    return expected if isinstance(expected, dict) else {"": expected}


def largest_error(ours: Tensor, expected: Any) -> float:
    """Over the places that are compared: None in `expected` lies under the mask."""
    nan = float("nan")

    def plain(x: Any) -> Any:
        return [plain(y) for y in x] if isinstance(x, list) else nan if x is None else x

    reference = torch.tensor(plain(expected), dtype=torch.float64)
    assert ours.shape == reference.shape
    assert ours.isfinite().all()
    compared = ~reference.isnan()
    assert (ours[~compared] == 0).all(), "masked places hold 0"
    return float((ours.detach().double() - reference)[compared].abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [c for c in CASES if c["expect"] == "equals"], ids=name_of)
def test_ours_equals_the_reference(case, dtype):
    inputs = inputs_of(case, dtype)
    for name in case.get("grad", {}):
        inputs[name].requires_grad_()
    ours, stats = call(case, inputs)
    for key, expected in expectations(case).items():
        assert ours[key].dtype == dtype
        assert largest_error(ours[key], expected) <= case["atol"]
    for key, expected in case.get("stats", {}).items():
        key = SECOND_NAMES.get(case["function"], {}).get(key, key)
        assert largest_error(stats[key], expected) <= case["atol"]
    for name, expected in case.get("grad", {}).items():
        ours.get("loss", ours.get("")).backward()
        assert largest_error(inputs[name].grad, expected) <= case["atol"]


@pytest.mark.parametrize("case", [c for c in CASES if c["expect"] == "differs"], ids=name_of)
def test_ours_is_not_somebody_elses_convention(case):
    ours, _ = call(case, inputs_of(case, torch.float64))
    errors = [largest_error(ours[key], value) for key, value in expectations(case).items()]
    assert max(errors) > case["atol"]


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c["expect"] == "equals" and c["function"] in MASKED_FLOATS],
    ids=name_of,
)
def test_nan_under_the_mask_changes_nothing(case):
    inputs = inputs_of(case, torch.float32)
    # A padded column makes sure that every case has something under its mask.
    names = MASKED_FLOATS[case["function"]]
    width = inputs["mask"].shape[1]
    for name, tensor in inputs.items():
        if tensor.dim() == 2:
            inputs[name] = torch.cat([tensor, torch.zeros_like(tensor[:, :1])], dim=1)
    for name in names:
        inputs[name] = inputs[name].masked_fill(~inputs["mask"], float("nan")).requires_grad_()

    ours, _ = call(case, inputs)
    for key, expected in expectations(case).items():
        value = ours[key][:, :width] if ours[key].dim() == 2 else ours[key]
        assert ours[key].isfinite().all()
        assert largest_error(value, expected) <= case["atol"]
    total = sum(value.sum() for value in ours.values())
    if total.requires_grad:  # gae gives targets, without gradient
        total.backward()
        for name in names:
            if inputs[name].grad is not None:
                assert (inputs[name].grad[~inputs["mask"]] == 0).all()
                assert inputs[name].grad.isfinite().all()


def test_every_function_has_a_reference():
    """But for those that torch, numpy or a closed form checks in a file of their own."""
    assert {c["function"] for c in CASES} == set(functional.__all__) - {
        "entropy",
        "next_token_loss",
        "Moments",
        "add_to_moments",
        "adapt_kl_coef",
        "scale_scores",
    }
