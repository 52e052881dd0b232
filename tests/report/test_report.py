"""The page shows what the files say, bears gaps and hostile text, and stands alone."""

import html
import json
import re
import shutil

import pytest

from preceptor.errors import DataError
from preceptor.report import write_report
from preceptor.report.reading import read_run
from preceptor.report.words import chips, minutes, side_by_side, signed

STAGES = ["pretrain", "sft", "reward", "ppo", "ppo_ptx"]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SHOWN = re.compile(r'<data value="([^"]*)" data-of="([^"]*)">([^<]*)</data>')


@pytest.fixture
def plain_pictures(monkeypatch):
    """Words only: drawing is most of a page's time, and some tests do not look at it."""
    for name in ("lines", "dots", "bars", "calibration"):
        monkeypatch.setattr(f"preceptor.report.plots.{name}", lambda *_, **__: "<svg></svg>")


def change_lines(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows))


def change_results(run, change):
    path = run / "evaluation/results.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_every_number_shown_is_the_one_in_the_results(page, results):
    shown = SHOWN.findall(page)
    for value, place, text in shown:
        found = results
        for key in place.split("/"):
            found = found[key.replace("~1", "/")]
        assert float(value) == found["mean"]
        factor = 100 if text.endswith("%") else 1
        digits = text.rstrip(" %").partition(".")[2]
        assert float(text.rstrip(" %")) == round(factor * found["mean"], len(digits))
    places = {place for _, place, _ in shown}
    groups = len(results["by_use_case"]) + len(results["held_out"])
    assert len([p for p in places if p.startswith(("by_use_case", "held_out"))]) == 5 * groups
    assert len([p for p in places if p.startswith("alignment_tax")]) == 4 * 3
    assert len([p for p in places if p.startswith("measures")]) == 5 * 4
    assert len([p for p in places if p.endswith("_vs_sft/length_controlled")]) == 4
    pairs = sum(
        len(results["reward_model"][f"by_{by}"]) for by in ("labeler", "use_case", "source")
    )
    assert len([p for p in places if p.startswith("reward_model/by_")]) == 2 * pairs
    assert len([p for p in places if p.startswith("reward_model/probes")]) == 3


def test_the_headline_says_the_result(page):
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    assert "PPO-ptx is preferred to SFT on 74 % of held-out prompts (95 % interval 70–78)." in text
    assert "25 won, 9 tied, 6 lost" in text
    assert "SFT +0.133, PPO +0.492, PPO-ptx +0.056 nats a token" in text


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.45, 0.6, "No clear difference:"), (0.3, 0.42, "PPO-ptx lost:")],
)
def test_the_headline_does_not_boast(run, low, high, words, plain_pictures):
    def change(found):
        mean = (low + high) / 2
        found["win_rate"]["ppo_ptx_vs_sft"] |= {"mean": mean, "low": low, "high": high}

    change_results(run, change)
    assert words in write_report(run).read_text()


def test_the_intervals_and_names_stand_in_the_pictures(page):
    for text in (
        "SFT / PPO-ptx",
        "heldout-2",
        "81 %  (76–86)",
        "said twice",
        "73 %  (69–77)",
        "1.61  (1.58–1.64)",
        "83 %  (81–85)",
        "labelers, on each other",
    ):
        assert text in page, text
    for model in ("GPT (prompted)", "SFT", "PPO", "PPO-ptx", "gpt_prompted", "ppo_ptx"):
        assert f">{model}<" in page
    assert page.count("<svg") == 8 + 1 + 1 + 5 + 9 + 2 + 3  # results, then sections 1 to 5


def test_labelers_answers_and_samples_are_shown(page):
    for text in ("rank me", "lara", "otto", "ppo_ptx says 3.", "gpt says 3.", "cut off",
                 "tell me a story about mia.", "+1.90", "−1.20", "a page of text number 3",
                 "mia is a cat.", "20,123"):  # fmt: skip
        assert text in page, text
    assert "a page of text number 4" not in page  # a few are enough


def test_the_same_files_give_the_same_bytes(run, page):
    assert write_report(run).read_text() == page


def test_the_page_stands_alone_and_is_light(page):
    assert "http:" not in page and "https:" not in page
    assert "<script" not in page and "@import" not in page and "<link" not in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?[^#\"']", page)
    assert len(page.encode()) < 1_500_000


def test_hostile_text_stays_text(run):
    change_lines(
        run / "evaluation/responses-sft.jsonl",
        lambda row: row | {"response": EVIL * 40, "use_case": EVIL},
    )
    change_lines(
        run / "evaluation/responses-gpt.jsonl",
        lambda row: row | {"prompt": EVIL, "use_case": EVIL, "response": EVIL}
        | {"judgement": {"score": 0.5, "parts": {EVIL: 0.5}}},
    )  # fmt: skip
    change_lines(run / "ppo/samples.jsonl", lambda row: row | {"prompt": EVIL, "response": EVIL})
    change_lines(run / "data/corpus-train.jsonl", lambda row: {"text": EVIL})
    change_lines(
        run / "data/rankings-valid.jsonl",
        lambda row: row | {"prompt": EVIL, "responses": [EVIL] * 3, "labeler": EVIL},
    )

    def change(found):
        found["alignment_tax"]["tasks"] = {EVIL: found["gold_score"]}
        found["by_use_case"][EVIL] = found["gold_score"]
        for part, name in (("by_labeler", "heldout-0"), ("by_source", "sft")):
            group = found["reward_model"][part]
            group[EVIL] = group[name]
        found["versions"][EVIL] = found["machine"][EVIL] = EVIL
        found["alignment_tax"]["note"] = EVIL
        found["gold_score"]["gpt"] = {"mean": None, "low": None, "high": None, "n": 0}
        found["gold_score"]["gpt"]["reason"] = f'"{EVIL}'
        alarm = {"stage": EVIL, "step": 7, "name": EVIL, "value": 1.0, "threshold": 0.5}
        found["alarms"] = [alarm | {"cause": EVIL}]

    change_results(run, change)
    (run / "recipe.yaml").write_text(f"name: {EVIL}")
    page = write_report(run).read_text()
    assert "<script" not in page and "<img" not in page
    assert page.count("&lt;script&gt;") > 100
    assert 'title="&#34;&lt;script' in page


@pytest.mark.parametrize("absent", [*STAGES, "evaluation", "data"])
def test_a_run_with_a_gap_says_so(run, absent):
    shutil.rmtree(run / absent)
    page = write_report(run).read_text()
    assert "<svg" in page
    assert absent == "data" or "not run yet" in page


def test_a_run_that_has_just_begun_gets_a_page(run):
    for part in [*STAGES, "evaluation", "data"]:
        shutil.rmtree(run / part)
    page = write_report(run).read_text()
    assert "no evaluation yet" in page and page.count("not run yet") == 6


def test_a_stage_that_the_recipe_leaves_out_is_not_called_late(run, plain_pictures):
    shutil.rmtree(run / "pretrain")
    (run / "recipe.yaml").write_text("name: demo\npretrain: null\n")
    page = write_report(run).read_text()
    assert "it starts from a given model" in page and "not in the recipe" in page


def test_a_stage_in_the_middle_shows_its_curves(run):
    shutil.rmtree(run / "evaluation")
    (run / "ppo_ptx/done.json").unlink()
    metrics = run / "ppo_ptx/metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-30])  # the last line is being written
    assert "unfinished, step 59" in write_report(run).read_text()


def test_fewer_models_make_a_shorter_page(run):
    keep = {"base", "sft", "ppo_ptx"}

    def change(found):
        found["models"] = ["base", "sft", "ppo_ptx"]
        tax = found["alignment_tax"]
        groups = [*found["by_use_case"].values(), *found["held_out"].values(),
                  tax["pretraining_loss"], *tax["tasks"].values(),
                  found["gold_score"], found["rates"], found["measures"]]  # fmt: skip
        for group in groups:
            group["base"] = group["gpt"]
            for model in set(group) - keep:
                del group[model]
        wins = found["win_rate"]
        found["win_rate"] = {"base_vs_sft": wins["gpt_vs_sft"],
                             "ppo_ptx_vs_sft": wins["ppo_ptx_vs_sft"]}  # fmt: skip

    change_results(run, change)
    shutil.rmtree(run / "ppo")
    page = write_report(run).read_text()
    assert "Base model" in page and "GPT (prompted)" not in page and "gpt says" not in page


def test_what_was_not_measured_is_a_dash_with_its_reason(run):
    def change(found):
        empty = {"mean": None, "low": None, "high": None, "n": 0, "reason": "no such prompts"}
        found["by_use_case"]["chat"] = dict.fromkeys(found["models"], empty)
        found["measures"]["gpt"]["reference_perplexity"] = None
        for model in found["models"]:
            found["rates"][model]["constraint"] = None
        found["reward_model"]["accuracy_on_gold"] = empty
        found["reward_model"]["calibration"] = []
        found["alignment_tax"] |= {"tasks": {}, "pretraining_loss": {}}
        found["win_rate"] = {}

    change_results(run, change)
    page = write_report(run).read_text()
    assert page.count('<span title="no such prompts">–</span>') == 5
    assert "obeys the constraint" not in page and "not measured" in page


def test_alarms_stand_out_once_each(run, plain_pictures):
    alarm = {"stage": "ppo", "name": "clip_fraction", "threshold": 0.5, "cause": "too fast."}
    steps = [alarm | {"step": step, "value": step / 10} for step in (7, 8, 9)]
    change_results(run, lambda found: found["alarms"].extend(steps))
    page = write_report(run).read_text()
    assert page.count('class="alarm"') == 1
    assert "3 steps from 7 to 9; at the last 0.9, threshold 0.5" in page
    assert "was kept is of step" not in page  # step 40 was kept, after these


def test_an_alarm_after_the_kept_step_says_so(run, plain_pictures):
    alarm = {"stage": "ppo", "name": "held_out_fall", "threshold": 0.05, "cause": "games."}
    change_results(run, lambda found: found["alarms"].append(alarm | {"step": 55, "value": 0.1}))
    assert "The model that was kept is of step 40, before this." in write_report(run).read_text()


def test_alarms_of_an_unfinished_run_are_read_from_its_stages(run, plain_pictures):
    shutil.rmtree(run / "evaluation")
    alarm = {"stage": "ppo", "step": 7, "name": "ref_kl", "value": -2.0, "threshold": -1.0}
    (run / "ppo/alarms.jsonl").write_text(json.dumps(alarm | {"cause": "padding."}) + "\n")
    assert "Alarm in PPO: ref kl" in write_report(run).read_text()


def test_prompts_are_chosen_by_order_over_different_use_cases(run):
    shown = side_by_side(read_run(run))
    assert len(shown) == 8 and len({item["use_case"] for item in shown}) == 6
    assert [item["prompt"] for item in shown[:2]] == ["prompt number 0", "prompt number 1"]


def test_documents_of_different_sources_come_first(run):
    sources = ["story", "story", "story", "story", "talk"]
    rows = [{"text": f"{s} {i}", "source": s} for i, s in enumerate(sources)]
    (run / "data/corpus-train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    shown = [document["text"] for document in read_run(run).documents]
    assert shown == ["story 0", "talk 4", "story 1", "story 2"]


def test_of_many_labelers_those_with_most_pairs_are_shown(run, plain_pictures):
    def change(found):
        one = found["reward_model"]["by_labeler"]["heldout-0"]
        found["reward_model"]["by_labeler"] = {
            f"person-{i:02d}": {
                key: value | {"n": 100 + i} for key, value in one.items()
            }
            for i in range(30)
        }  # fmt: skip

    change_results(run, change)
    page = write_report(run).read_text()
    assert re.findall(r"person-\d\d", SHOWN.sub("", page)) == [f"person-{i}" for i in range(18, 30)]
    assert "18 more stand in results.json" in page


def test_groups_without_a_name_are_no_table(run, plain_pictures):
    def change(found):
        one = found["reward_model"]["by_labeler"]["heldout-0"]
        nameless = {"by_labeler": {"none": one}, "by_use_case": {"none": one}, "by_source": None}
        found["reward_model"] |= nameless | {"probes": {}}

    change_results(run, change)
    page = write_report(run).read_text()
    assert "On whose labels" not in page and "Can it be gamed" not in page


def test_results_of_an_earlier_version_still_make_a_page(run, plain_pictures):
    """Their missing figures are dashes with the reason; nothing is asked to be done again."""

    def change(found):
        for compared in found["win_rate"].values():
            del compared["length_controlled"]
        for groups in ("by_labeler", "by_use_case", "by_source", "probes"):
            del found["reward_model"][groups]

    change_results(run, change)
    page = write_report(run).read_text()
    assert page.count('<span title="of an earlier version">–</span>') == 4


@pytest.mark.parametrize(
    ("line", "simulated"),
    [
        ("rankings: null", True),
        ("rankings: a", False),
        ("rankings: null\nlabels: store", True),
        ("rankings: null\nlabels: people", False),
    ],
)
def test_simulated_labelers_are_called_so(run, line, simulated):
    (run / "recipe.yaml").write_text(line)
    assert read_run(run).simulated_labelers is simulated


def test_a_broken_file_is_named_by_line(run):
    (run / "sft/metrics.jsonl").write_text('{"step": 1}\n{"step": \n')
    with pytest.raises(DataError, match=r"sft/metrics\.jsonl:2"):
        write_report(run)


def test_broken_results_are_refused(run):
    change_results(run, lambda found: found["gold_score"]["sft"].update(mean=1.5))
    with pytest.raises(DataError, match=r"gold_score\.sft\.mean"):
        write_report(run)


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a run folder"):
        write_report(tmp_path)


def test_words_and_numbers_for_people():
    assert minutes(75.4) == "1 min 15 s" and minutes(3.21) == "3.2 s"
    assert minutes(7325) == "2 h 02 min"
    assert signed(-0.5) == "−0.50" and signed(0.5, 3) == "+0.500" and signed(-0.0004) == "0.00"
    found = chips({"parts": {"task": 1.0, "truth": 0.0, "polite": 0.5, "constraint": None}})
    assert [chip["sign"] for chip in found] == ["✓", "✗", "0.50"]
