"""`precision: auto` is what the processor multiplies itself."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import tiny_model, tiny_tokenizer

from preceptor.models import precision as module
from preceptor.models.load import load_frozen_policy, save_model
from preceptor.models.precision import is_bf16, precision, ratio_tolerance, sampling_tolerance


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_what_the_processor_has_and_a_word_is_kept(monkeypatch, has):
    monkeypatch.setattr(module, "has_bf16", lambda: has)
    assert is_bf16("auto") == has
    assert is_bf16("bf16") and not is_bf16("fp32")
    same = "bf16" if has else "fp32"
    assert ratio_tolerance("auto") == ratio_tolerance(same)
    assert sampling_tolerance("auto") == sampling_tolerance(same)
    a = torch.randn(4, 4)
    with precision("auto"):
        assert (a @ a).dtype == (torch.bfloat16 if has else torch.float32)


@pytest.mark.parametrize("has", [True, False])
def test_a_frozen_policy_is_kept_in_what_auto_means(monkeypatch, tmp_path, has):
    monkeypatch.setattr(module, "has_bf16", lambda: has)
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path)
    model, _ = load_frozen_policy(tmp_path, "auto")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    kinds = {p.dtype for n, p in model.named_parameters() if n.endswith("proj.weight")}
    assert kinds == {torch.bfloat16 if has else torch.float32}


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").is_file(),
    reason="the kernel's list of x86 features is the reference",
)
def test_the_processor_is_asked_rightly():
    text = Path("/proc/cpuinfo").read_text()
    flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
    # In a process of its own: the tests' own answer is always no.
    code = "from preceptor.models.precision import has_bf16; print(has_bf16())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(bool(flags & {"avx512_bf16", "amx_bf16", "amx_tile"}))
