"""Engines that serve: `python benchmarks/serving.py WORK FOLDER PEER`, in turns.

A turn is so many requests of varied lengths at once, each answered until the model ends it; what
is counted are the tokens of the answers. Prompts are ids and answers stay ids on every side.
"""

import os
import sys
from pathlib import Path
from typing import Any

# A thread a core, and vLLM's engine in this process: no core is kept free for a server, and its
# memory is counted. A gigabyte of keys and values is five times what the requests need.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}

from turns import Turns
from works import EOS, WORKS, Ids, Work, read_inputs

MANY = 10**6


def requests(work: Work, prompts: list[Ids], number: int) -> list[Ids]:
    """Those of one turn."""
    start = number * work.batch % len(prompts)
    return prompts[start : start + work.batch]


def vllm(work: Work, folder: Path, prompts: list[Ids], turns: Turns) -> None:
    """vLLM as it is on a CPU: compiled by torch, paged keys and values, continuous batching."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=str(folder / "model"),
        skip_tokenizer_init=True,
        dtype="bfloat16",
        max_model_len=work.prompt + work.response,
        max_num_seqs=work.batch,
        enable_prefix_caching=False,  # no two requests begin alike
        seed=0,
    )
    params = SamplingParams(
        temperature=1.0, max_tokens=work.response, stop_token_ids=[EOS], detokenize=False
    )
    for number in range(MANY):
        asked = [{"prompt_token_ids": ids} for ids in requests(work, prompts, number)]
        turns.begin()
        answers = engine.generate(asked, params, use_tqdm=False)
        turns.end(sum(len(answer.outputs[0].token_ids) for answer in answers))


def llama_cpp(work: Work, folder: Path, prompts: list[Ids], turns: Turns) -> None:
    """llama.cpp, the requests as parallel sequences of one batch."""
    from gguf import GGMLQuantizationType
    from gguf_file import write_gguf

    # As the others'; fp16 takes a third longer where the processor multiplies bf16 (docs/log.md).
    write_gguf(folder / "model", folder / "model.gguf", GGMLQuantizationType.BF16)
    engine = Sequences(folder / "model.gguf", work.batch, work.prompt + work.response)
    for number in range(MANY):
        asked = requests(work, prompts, number)
        turns.begin()
        answers = engine.answer(asked, work.response, seed=number * work.batch)
        turns.end(sum(map(len, answers)))


class Sequences:
    """llama.cpp's own functions on a batch of sequences, called as its example `batched` does."""

    def __init__(self, file: Path, rows: int, length: int) -> None:
        import llama_cpp

        self.c = llama_cpp
        self.c.llama_backend_init()
        model = self.c.llama_model_load_from_file(
            str(file).encode(), self.c.llama_model_default_params()
        )
        options = self.c.llama_context_default_params()
        options.n_seq_max = rows
        options.n_ctx = options.n_batch = rows * length
        options.n_threads = options.n_threads_batch = int(os.environ["OMP_NUM_THREADS"])
        # All sequences in one buffer: with one for each, prompts of unlike lengths go one by one.
        options.kv_unified = True
        self.context = self.c.llama_init_from_model(model, options)
        self.memory = self.c.llama_get_memory(self.context)
        self.batch = self.c.llama_batch_init(rows * length, 0, 1)

    def answer(self, prompts: list[Ids], most: int, seed: int) -> list[Ids]:
        """At most so many ids for each prompt, the end token included."""
        c = self.c
        c.llama_memory_clear(self.memory, False)
        samplers = [c.llama_sampler_init_dist(seed + row) for row in range(len(prompts))]
        answers: list[Ids] = [[] for _ in prompts]
        self.batch.n_tokens = 0
        places = {row: self.add(prompt, 0, row) for row, prompt in enumerate(prompts)}
        while places:
            if c.llama_decode(self.context, self.batch) != 0:
                raise RuntimeError("llama_decode failed; see its lines above.")
            self.batch.n_tokens = 0
            following = {}
            for row, place in places.items():
                token = c.llama_sampler_sample(samplers[row], self.context, place)
                answers[row].append(token)
                if token == EOS or len(answers[row]) == most:
                    c.llama_memory_seq_rm(self.memory, row, -1, -1)
                else:
                    begin = len(prompts[row]) + len(answers[row]) - 1
                    following[row] = self.add([token], begin, row)
            places = following
        for sampler in samplers:
            c.llama_sampler_free(sampler)
        return answers

    def add(self, tokens: Ids, begin: int, row: int) -> int:
        """Put a sequence's next tokens in the batch; returns the place of the last."""
        batch = self.batch
        for position, token in enumerate(tokens, begin):
            place = batch.n_tokens
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
            batch.logits[place] = 0
            batch.n_tokens += 1
        batch.logits[place] = 1  # only the last one's are asked for
        return int(place)


def main() -> None:
    """Load, and work in turns until there are no more."""
    name, folder, peer = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    turns = Turns()
    engines: dict[str, Any] = {"vllm": vllm, "llama.cpp": llama_cpp}
    engines[peer](WORKS[name], folder, read_inputs(folder)["prompts"], turns)


if __name__ == "__main__":
    main()
