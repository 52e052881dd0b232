"""A stage's folder: whole or not at all, resumed at the right line, trusted by hash only."""

import json

import pytest
import torch

from preceptor.errors import DataError
from preceptor.training.alarms import Alarm
from preceptor.training.folder import StageFolder, is_done, refuse_foreign, write_done


def started(tmp_path, inputs="a") -> StageFolder:
    folder = StageFolder(tmp_path / "sft", "sft", inputs)
    folder.resume()
    return folder


def log(folder: StageFolder, *steps: int) -> None:
    for step in steps:
        folder.log(step, {"sft/loss": float(step)}, {"seconds": 1.0})


def test_resume_drops_what_was_logged_after_the_checkpoint(tmp_path):
    folder = started(tmp_path)
    log(folder, 1, 2)
    folder.save(2, {"w": torch.arange(3.0)}, {"best": 0.5})
    log(folder, 3)
    folder.log_samples(3, [{"response": "x"}])
    folder.log_alarms(3, [Alarm("a", 1.0, 0.5, "b")])
    again = StageFolder(tmp_path / "sft", "sft", "a")
    checkpoint = again.resume()
    assert checkpoint is not None and checkpoint.step == 2
    assert torch.equal(checkpoint.tensors["w"], torch.arange(3.0))
    assert checkpoint.values["best"] == 0.5
    assert [line["step"] for line in again.metrics()] == [1, 2]
    assert (tmp_path / "sft" / "samples.jsonl").read_text() == ""
    assert (tmp_path / "sft" / "alarms.jsonl").read_text() == ""


def test_a_line_cut_in_the_middle_is_dropped(tmp_path):
    folder = started(tmp_path)
    log(folder, 1)
    folder.save(1, {"w": torch.zeros(1)}, {})
    with (tmp_path / "sft" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "sft/lo')
    again = StageFolder(tmp_path / "sft", "sft", "a")
    again.resume()
    assert [line["step"] for line in again.metrics()] == [1]


def test_a_half_written_checkpoint_is_never_read(tmp_path):
    folder = started(tmp_path)
    log(folder, 1)
    folder.save(1, {"w": torch.ones(1)}, {})
    half = tmp_path / "sft" / "checkpoints" / "step-2.partial"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    checkpoint = StageFolder(tmp_path / "sft", "sft", "a").resume()
    assert checkpoint is not None and checkpoint.step == 1


def test_other_inputs_start_afresh(tmp_path):
    folder = started(tmp_path)
    log(folder, 1)
    folder.save(1, {"w": torch.ones(1)}, {})
    other = StageFolder(tmp_path / "sft", "sft", "b")
    assert other.resume() is None
    assert other.metrics() == []


def test_what_no_stage_has_put_there_is_never_deleted(tmp_path):
    (tmp_path / "sft").mkdir()
    thesis = tmp_path / "sft" / "thesis.tex"
    thesis.write_text("years of work")
    with pytest.raises(DataError, match=r"not empty \(thesis.tex\).*Nothing was touched"):
        StageFolder(tmp_path / "sft", "sft", "a").resume()
    assert thesis.read_text() == "years of work"


def test_a_checkpoint_stays_until_the_work_is_known_to_be_complete(tmp_path, monkeypatch):
    """A power cut while the outputs are hashed must not cost the whole stage."""
    folder = started(tmp_path)
    log(folder, 1)
    folder.save(1, {"w": torch.ones(1)}, {})

    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("preceptor.training.folder.write_done", cut)
    with pytest.raises(KeyboardInterrupt):
        folder.finish({})
    monkeypatch.undo()
    again = StageFolder(tmp_path / "sft", "sft", "a")
    assert again.resume() is not None
    again.finish({})
    assert again.is_done() and not (tmp_path / "sft" / "checkpoints").exists()


def test_separators_that_json_leaves_alone_cut_no_line(tmp_path):
    folder = started(tmp_path)
    log(folder, 1)
    folder.log_samples(1, [{"response": "one\u2028two\x85three"}])
    folder.save(1, {"w": torch.ones(1)}, {})
    StageFolder(tmp_path / "sft", "sft", "a").resume()
    [line] = (tmp_path / "sft" / "samples.jsonl").read_text().split("\n")[:-1]
    assert json.loads(line)["response"] == "one\u2028two\x85three"


def test_an_empty_or_absent_folder_and_a_first_moment_s_remains_are_nobody_s(tmp_path):
    refuse_foreign(tmp_path / "absent", "sign")
    refuse_foreign(tmp_path, "sign")
    (tmp_path / "sign.partial").touch()  # a kill -9 between writing and renaming
    refuse_foreign(tmp_path, "sign")
    with pytest.raises(DataError, match="a file"):
        refuse_foreign(tmp_path / "sign.partial", "sign")


def test_only_the_newest_checkpoint_stays(tmp_path):
    folder = started(tmp_path)
    for step in (5, 10):
        folder.save(step, {"w": torch.ones(1)}, {})
    assert [p.name for p in (tmp_path / "sft" / "checkpoints").iterdir()] == ["step-10"]


def test_done_holds_hashes_and_notices_every_change(tmp_path):
    folder = started(tmp_path)
    log(folder, 1)
    (tmp_path / "sft" / "model").mkdir()
    weights = tmp_path / "sft" / "model" / "w"
    weights.write_text("good")
    folder.finish({"steps": 1})
    done = tmp_path / "sft" / "done.json"
    assert folder.is_done() and not is_done(done, "other")
    assert "timing.jsonl" not in json.loads(done.read_text())["outputs"]
    weights.write_text("evil")
    assert not folder.is_done()
    weights.unlink()
    assert not folder.is_done()


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_broken_done_file_is_not_trusted(tmp_path, content):
    (tmp_path / "done.json").write_text(content)
    assert not is_done(tmp_path / "done.json", "a")


def test_done_outputs_are_relative_to_its_folder(tmp_path):
    (tmp_path / "x").write_text("1")
    write_done(
        tmp_path / "done.json", stage="s", input_hash="a", outputs=[tmp_path / "x"], summary={}
    )
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert is_done(moved / "done.json", "a")


def test_the_best_weights_of_a_checkpoint_outlive_a_better_look_after_it(tmp_path):
    folder = started(tmp_path)
    folder.keep_best(2, {"w": torch.full((1,), 2.0)})
    log(folder, 1, 2, 3)
    folder.save(3, {"w": torch.ones(1)}, {}, best=2)
    folder.keep_best(4, {"w": torch.full((1,), 4.0)})  # killed here: step 4 is done once more
    again = StageFolder(tmp_path / "sft", "sft", "a")
    assert again.resume().step == 3
    assert again.best(2)["w"].item() == 2.0
    again.keep_best(4, {"w": torch.full((1,), 5.0)})
    again.save(5, {"w": torch.ones(1)}, {}, best=4)
    assert again.best(4)["w"].item() == 5.0
    names = {path.name for path in (tmp_path / "sft" / "checkpoints").iterdir()}
    assert names == {"step-5", "best-4.safetensors"}
    again.finish({})
    assert not (tmp_path / "sft" / "checkpoints").exists()
    assert is_done(tmp_path / "sft" / "done.json", "a")
