"""Two hundred iterations of PPO hold no more than sixty did, the first checkpoint included."""

import gc

import torch
from tiny_ppo import run

from preceptor.training.folder import StageFolder


def held() -> tuple[int, int, int]:
    """Tensors alive, their bytes, and all objects that the collector knows."""
    gc.collect()
    every = gc.get_objects()
    # By type: some modules have objects that warn when they are asked for their class.
    tensors = [x for x in every if issubclass(type(x), torch.Tensor)]
    return len(tensors), sum(t.numel() * t.element_size() for t in tensors), len(every)


def test_memory_does_not_grow_with_the_number_of_iterations(tmp_path, monkeypatch):
    seen: dict[int, tuple[int, int, int]] = {}
    plain = StageFolder.log

    def log(self, step, metrics, timing):
        plain(self, step, metrics, timing)
        if step % 20 == 0:
            seen[step] = held()

    monkeypatch.setattr(StageFolder, "log", log)
    run(tmp_path, num_iterations=200, eval_every=1000, checkpoint_every=50, ema_decay=0.9)
    tensors, size, objects = zip(*(seen[step] for step in range(60, 201, 20)), strict=True)
    assert len(set(tensors)) == 1
    # Responses are of any length, and so are the tables of the last iteration.
    assert max(size) - min(size) < 20_000
    assert objects[-1] - objects[0] < 100
