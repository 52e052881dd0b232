"""The comparison beside peers: its table, its arithmetic, and what a failing side looks like."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import compare  # noqa: E402
import english_small  # noqa: E402
import growth  # noqa: E402
import input_memory  # noqa: E402
import works  # noqa: E402
from gguf import GGMLQuantizationType  # noqa: E402
from gguf_file import write_gguf  # noqa: E402
from ours import update_products  # noqa: E402

from preceptor.generation import row_uniforms, sample  # noqa: E402
from preceptor.models.load import load_policy  # noqa: E402

TOY = works.Shape(64, 16, 2, 2, 1, 32)


@pytest.fixture
def toy(monkeypatch):
    """A work whose models have some thousand weights."""
    monkeypatch.setitem(works.SHAPES, "toy", TOY)
    work = works.Work("ppo", "toy", 4, 8, 48, varied=True, minibatches=2, unit="iterations")
    monkeypatch.setitem(works.WORKS, "ppo-toy", work)
    return work


def turn(seconds, amount=1.0, memory=10**9, **parts):
    return {"seconds": seconds, "amount": amount, "memory": memory, "parts": parts}


def side(name, turns):
    return compare.Worker(name, None, Path(), turns)


def test_the_samples_of_a_page_show_what_the_model_wrote():
    """Bold is what it was given; where that was the whole text there is nothing to show."""
    drawn = [
        {"source": "facts", "prompt": "You cannot", "response": " fly.", "finished": True},
        {"source": "facts", "prompt": "Whole.", "response": "", "finished": True},
        {"source": "recipes", "prompt": "Tea\n- 1 ", "response": "cup", "finished": False},
    ]
    told, *_, first, second = english_small.samples(drawn)
    assert told.startswith("**Bold** is what the model was given")
    assert first == "* *facts*: **You cannot** fly. ■"
    assert second == "* *recipes*: **Tea / - 1** cup"
    assert "Left out are 1 of 3" in "\n".join(english_small.samples(drawn))
    assert not any("Left out" in line for line in english_small.samples(drawn[:1]))


def test_the_page_of_english_small_is_as_its_script_would_write_it():
    page = (english_small.DOCS / "english-small.md").read_text(encoding="utf-8")
    made = page.partition(english_small.BEGIN)[2].partition(english_small.END)[0]
    bullets = [line for line in made.splitlines() if line.startswith("* ")]
    assert bullets and not any(line.endswith("** ■") for line in bullets)
    rows = [{"source": "", "prompt": "", "response": "x", "finished": False}] * len(bullets)
    rows += [rows[0] | {"response": ""}] * 4
    said = "\n".join(list(english_small.samples(rows))[: -len(bullets)])
    assert said in made


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    """The machine grows slower by half within the rounds; the ratio does not."""
    ours = side("ours", [turn(1.0), turn(2.0), turn(4.0)])
    theirs = side("trl", [turn(3.0), turn(6.0), turn(16.0)])
    [row] = compare.rows_of("ppo-fixed-6M", works.WORKS["ppo-fixed-6M"], [ours, theirs])
    assert "| trl | 0.5 iterations/s, 1.00 GB | 0.1667, 1.00 GB | **3.00** (3.00 to 4.00) |" in row


def test_rates_count_what_was_done_and_not_turns():
    ours = side("ours", [turn(2.0, amount=200.0)])
    theirs = side("trl", [turn(1.0, amount=10.0)])
    [row] = compare.rows_of("reward-k9-6M", works.WORKS["reward-k9-6M"], [ours, theirs])
    assert "**10.00**" in row


def test_rates_are_by_seconds_of_a_core_where_that_is_asked_for():
    """Beside other work a side waits, and not for anything of its own."""
    ours = side("ours", [turn(8.0) | {"processor": 1.0}])
    theirs = side("vllm", [turn(4.0) | {"processor": 2.0}])
    work = works.WORKS["serve-135M"]
    [row] = compare.rows_of("serve-135M", work, [ours, theirs], "processor")
    assert "**2.00**" in row
    [row] = compare.rows_of("serve-135M", work, [ours, theirs])
    assert "**0.50**" in row


def test_the_share_of_the_peak_is_told_turn_by_turn():
    """By each turn's own peak: a machine of half the speed is used as well."""
    parts = {"update_products": 3e11, "sample_seconds": 1.0}
    ours = side(
        "ours",
        [
            turn(4.0, **parts, update_seconds=2.0, bf16_peak=5e11),
            turn(8.0, **parts, update_seconds=4.0, bf16_peak=2.5e11),
            turn(4.0, **parts, update_seconds=2.0, bf16_peak=3e11),
        ],
    )
    rows = compare.rows_of("ppo-fixed-6M", works.WORKS["ppo-fixed-6M"], [ours])
    assert "peak before each 300 (250 to 500) GFLOP/s" in rows[-1]
    assert "update at **30%** (30% to 50%) of it" in rows[-1]


def test_products_are_six_for_each_weight_and_token(toy):
    model = works_model(toy)
    blocks = sum(p.numel() for n, p in model.named_parameters() if p.dim() > 1 and "layers" in n)
    assert TOY.matrix_parameters() == blocks
    head = TOY.vocabulary * TOY.hidden_size
    last = model.model.layers[-1]
    after = sum(p.numel() for p in (last.self_attn.o_proj.weight, *last.mlp.parameters()))
    assert TOY.after_attention() == after
    # Policy and value model pass over 4 x (8 + 20) tokens, the head over the 4 x 20 of responses;
    # so does what comes after the last layer's attention.
    of_two = blocks * 4 * 28 - after * 4 * 8
    assert update_products(toy, 20.0) == 6 * (2 * of_two + head * 4 * 20)


def test_frozen_weights_have_no_gradient_of_their_own_to_multiply(toy):
    import dataclasses

    adapted = dataclasses.replace(toy, lora=True)
    assert 6 * update_products(adapted, 20.0) == 4 * update_products(toy, 20.0)


def works_model(work):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        works.write_models(work, Path(folder))
        return load_policy(Path(folder) / "model")[0]


def test_responses_end_at_a_constant_chance_half_of_them_within_a_third(toy):
    model = works_model(toy)
    prompts = works.prompts_of(toy, 400)
    uniforms = row_uniforms(0, "x", [(i,) for i in range(400)], toy.response)
    drawn = sample(model, prompts, uniforms, stop_ids=[works.EOS])
    lengths = [len(response) for response in drawn.responses]
    assert statistics.median(lengths) == pytest.approx(toy.response / 3, abs=3)
    assert 0.08 < 1 - statistics.mean(drawn.finished) < 0.18  # one half cubed is an eighth


def test_without_an_end_every_response_has_full_length(toy):
    import dataclasses

    model = works_model(dataclasses.replace(toy, varied=False))
    uniforms = row_uniforms(0, "x", [(i,) for i in range(50)], toy.response)
    drawn = sample(model, works.prompts_of(toy, 50), uniforms, stop_ids=[works.EOS])
    assert not any(drawn.finished)


def test_both_sides_start_from_the_same_trunk(toy, tmp_path):
    works.write_inputs("ppo-toy", tmp_path)
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    scalar = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scalar")
    for name, weight in policy.model.state_dict().items():
        assert torch.equal(weight, scalar.model.state_dict()[name])
    assert len(works.read_inputs(tmp_path)["prompts"]) == 64 * toy.batch


def test_llama_cpp_s_file_holds_the_weights_that_the_others_load(toy, tmp_path):
    """Read by transformers, which puts the rows of q and k back in its own order."""
    works.write_models(toy, tmp_path)
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", GGMLQuantizationType.BF16)
    from transformers import AutoModelForCausalLM

    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    found = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    )
    ours, found = ours.state_dict(), found.state_dict()
    assert ours.keys() == found.keys()
    for name, weight in ours.items():
        assert torch.equal(found[name], weight.bfloat16().float()), name


def test_requests_are_of_varied_lengths_half_of_them_within_a_third():
    work = works.WORKS["serve-135M"]
    lengths = [len(prompt) for prompt in works.requests_of(work, 2000)]
    assert statistics.median(lengths) == pytest.approx(work.prompt / 3, abs=2)
    assert min(lengths) >= 4
    assert max(lengths) == work.prompt


def test_a_side_that_fails_is_named_with_the_end_of_its_log(tmp_path, monkeypatch):
    script = tmp_path / "ours.py"
    script.write_text("import sys; print('loading', file=sys.stderr); sys.exit('no such model')")
    monkeypatch.setattr(compare, "HERE", tmp_path)
    worker = compare.start("ours", "ppo-fixed-6M", tmp_path, Path(sys.executable))
    with pytest.raises(SystemExit, match=r"(?s)ours ended with status 1:.*no such model"):
        worker.turn()


def test_engines_that_serve_have_a_script_and_an_environment_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "serving.py").write_text("import sys; sys.exit(' '.join(sys.argv[1:]))")
    monkeypatch.setattr(compare, "HERE", tmp_path)
    worker = compare.start("llama.cpp", "serve-135M", tmp_path, Path(sys.executable))
    with pytest.raises(SystemExit, match=rf"(?s)status 1:.*serve-135M {tmp_path} llama.cpp"):
        worker.turn()


def test_a_missing_environment_is_named_with_what_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare.py", "serve-135M", "--serving", str(tmp_path / "x")])
    with pytest.raises(SystemExit):
        compare.main()
    assert "x is missing. `make bench-serving-peers` makes it" in capsys.readouterr().err


def test_a_turn_is_taken_when_it_is_asked_for(tmp_path, monkeypatch):
    script = tmp_path / "ours.py"
    script.write_text(
        f"import sys, time; sys.path.append({str(BENCHMARKS)!r})\n"
        "from turns import Turns\n"
        "turns = Turns()\n"
        "while True:\n"
        "    turns.begin()\n"
        "    print('noise')\n"
        "    time.sleep(0.05)\n"
        "    turns.end(7, sample_seconds=0.5)\n"
    )
    monkeypatch.setattr(compare, "HERE", tmp_path)
    worker = compare.start("ours", "ppo-fixed-6M", tmp_path, Path(sys.executable))
    found = [worker.turn() for _ in range(2)]
    worker.stop()
    assert worker.process.returncode == 0  # a side without turns ends by itself
    assert [row["amount"] for row in found] == [7, 7]
    assert found[0]["parts"] == {"sample_seconds": 0.5}
    assert all(row["processor"] < row["seconds"] for row in found)  # it slept
    assert 5e6 < found[0]["memory"] < 1e8  # its own, not that of this large process
    assert json.dumps(found)


def test_the_store_s_benchmark_measures_every_call_on_a_small_store(monkeypatch, tmp_path, capsys):
    import store

    small = {"NUM_PROMPTS": 400, "NUM_RANKED": 300, "FULL": 60, "PARTLY": 40, "TURNS": 80}
    small["POOL"] = 5
    for name, value in small.items():
        monkeypatch.setattr(store, name, value)
    # Rows go in by twenty thousand; the last batch may be smaller.
    store.measure(tmp_path)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    begin = 1 + [row[0] for row in rows].index("n")  # the table's head
    told = {" ".join(row[:-4]): int(row[-4]) for row in rows[begin:] if row[0] != "page"}
    [results] = [row for row in rows if row[:2] == ["label", "results"]]
    assert int(results[5]) > 100  # two labels of a full task, one of a partly filled one
    assert [row[1] for row in rows if row[0] == "page"] == list(store.PAGES)
    assert told == {
        "start page, one who did all partly filled": 50,
        "start page": 50,
        "claim, one who did all partly filled": 2,
        "claim": 78,
        "save draft": 80,
        "submit": 80,
    }


def test_the_labelers_benchmark_does_every_task_by_its_pages(monkeypatch, tmp_path, capsys):
    import labeling

    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "a key that is only known to this test")
    for name, value in {"NUM_TASKS": 6, "NUM_LABELERS": 3}.items():
        monkeypatch.setattr(labeling, name, value)
    labeling.measure(tmp_path)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = {
        " ".join(row[: row.index("median") - 1]): int(row[row.index("median") - 1]) for row in rows
    }
    assert told == {
        "inbox": 3,
        "claim": 3,
        "page of a rating": 24,
        "rate": 24,
        "page of a ranking": 6,
        "submit and claim": 3,
        "submit": 3,
    }


def test_growth_tells_the_powers_of_seconds_and_of_memory(monkeypatch, capsys):
    """Seconds grow with the square of the batch, memory with its root."""
    monkeypatch.setattr(
        growth, "measure", lambda work: (work.batch**2 / 1e3, 1e9 * work.batch**0.5)
    )
    growth.main(["batch"])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + 4 + 1
    assert rows[2] == "| batch | 16 | 0.26 | 4.00 |"
    assert rows[-1] == "| batch | exponent | **2.00** | **0.50** |"


@pytest.mark.parametrize(
    ("script", "given", "said"),
    [
        (growth, ["foo"], "foo: no such axis. There are model, response, batch, k."),
        (input_memory, [], "the following arguments are required: kind"),
        (input_memory, ["prompts"], "give sizes in MB, such as 10 50 200."),
        (input_memory, ["prompts", "0"], "give sizes in MB"),
        (input_memory, ["prompts", "ten"], "invalid int value: 'ten'"),
        (input_memory, ["labels", "10"], "invalid choice: 'labels'"),
    ],
)
def test_a_wrong_argument_is_a_message(script, given, said, capsys):
    with pytest.raises(SystemExit) as left:
        script.main(given)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("kind", input_memory.RECORDS)
def test_the_memory_of_every_kind_of_file_can_be_measured(kind, tmp_path, capsys):
    input_memory.write_model(tmp_path / "model")
    input_memory.write_file(tmp_path / f"{kind}.jsonl", kind, 60_000, seed=2)
    input_memory.read(kind, tmp_path)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["peak"] >= found["before"] > 10**8 and found["data"] > 0
    num_lines = len((tmp_path / f"{kind}.jsonl").read_text().splitlines())
    assert found["items"] > num_lines / 4 or kind == "corpus"


@pytest.mark.slow
@pytest.mark.skipif(not compare.PEERS.is_file(), reason="needs make bench-peers")
@pytest.mark.parametrize(("peer", "rows"), [("trl", 1), ("trl-wrapped", 8)])
def test_trl_learns_responses_alone_as_ours_does(toy, tmp_path, peer, rows):
    """Of its batches in its own environment: labels on every response token, on no prompt's."""
    works.write_models(toy, tmp_path)
    script = tmp_path / "look.py"
    script.write_text(
        "import json, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "import peers\n"
        "examples = [([2] * (i % 7 + 1), [3] * (i % 5 + 1)) for i in range(4000)]\n"
        "gate = peers.Turned(None, 1)\n"
        "trainer = peers.sft_trainer(Path(sys.argv[2]), examples, gate, sys.argv[3])\n"
        "batch = next(iter(trainer.get_train_dataloader()))\n"
        "pairs = zip(batch['input_ids'].flatten().tolist(), batch['labels'].flatten().tolist())\n"
        "print(json.dumps([list(batch['input_ids'].shape), sorted(set(pairs))]))\n"
    )
    told = subprocess.run(
        [str(compare.PEERS), str(script), str(BENCHMARKS), str(tmp_path), peer],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    shape, pairs = json.loads(told.stdout.splitlines()[-1])
    assert shape[0] == rows
    assert (7000 if rows == 1 else 1023) < shape[1] <= 8192 // rows  # the last row may be shorter
    assert [pair for pair in pairs if pair[0] != works.PAD] == [[2, -100], [3, 3]]
