"""Recipes: one frozen pydantic model per stage, unknown keys refused.

A recipe is a YAML file without logic. `extends: NAME` starts from another recipe, `--set a.b=c`
overrides one key, `ppo_ptx` starts from `ppo`; the resolved recipe is saved in the run folder and
gives the same run again.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""Of a moving average; 1 would never move."""
FormatName = Literal[
    "preceptor", "pairs", "scores", "ultrafeedback", "alpaca", "completion", "messages", "sharegpt",
    "few_shot", "oasst", "argilla", "label_studio",
]  # fmt: skip

SetName = Literal["wiki-summaries", "recipes", "facts", "wordnet", "shakespeare", "passages"]
"""Sets of documents that `preceptor data list` names."""


class Section(BaseModel):
    """A part of a recipe: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class Architecture(Section):
    """A Llama-shaped model that starts from random weights."""

    hidden_size: int = Field(128, gt=0, description="Width of the residual stream.")
    num_layers: int = Field(4, gt=0, description="Transformer blocks.")
    num_heads: int = Field(4, gt=0, description="Attention heads; must divide hidden_size.")
    num_kv_heads: int = Field(4, gt=0, description="Key/value heads; must divide num_heads.")
    intermediate_size: int = Field(384, gt=0, description="Width of the gated feed-forward.")
    context_length: int = Field(128, gt=1, description="Longest sequence in tokens.")
    rope_theta: float = Field(
        10_000.0,
        gt=1,
        description="Base of the rotary positions; a short context is told apart better by less.",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> "Architecture":
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} does not divide by num_heads {self.num_heads}"
            )
        if self.hidden_size // self.num_heads % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} / num_heads {self.num_heads} is odd; rotary "
                "positions turn pairs, so a head's width is even"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide by num_kv_heads {self.num_kv_heads}"
            )
        return self


class TokenizerConfig(Section):
    """A byte-level BPE, trained on the run's own pretraining text."""

    vocabulary_size: int = Field(
        8192, ge=258, description="Tokens: 256 bytes, two special ones, the rest merged pairs."
    )


class DataConfig(Section):
    """How much a generated or embedded source makes, and how files are split."""

    corpus_tokens: int = Field(
        1_500_000, gt=0, description="Pretraining tokens that the source makes, about."
    )
    num_demonstrations: int = Field(1500, gt=0, description="Demonstrations for SFT.")
    num_reward_prompts: int = Field(2000, gt=0, description="Prompts to sample and rank.")
    num_reward_valid_prompts: int = Field(
        200, gt=0, description="Ranked by several labelers, never trained on."
    )
    num_ppo_prompts: int = Field(3000, gt=0, description="Prompts for PPO; no labels needed.")
    num_valid_prompts: int = Field(128, gt=0, description="Prompts that choose checkpoints.")
    num_test_prompts: int = Field(400, gt=0, description="Prompts of the reported figures.")
    demonstrations_format: FormatName | None = Field(
        None, description="Format of the file of demonstrations; null: told by its keys."
    )
    prompts_format: FormatName | None = Field(
        None, description="Format of the file of prompts; null: told by its keys."
    )
    rankings_format: FormatName | None = Field(
        None, description="Format of the file of rankings; null: told by its keys."
    )
    on_error: Literal["refuse", "skip"] = Field(
        "refuse",
        description="A broken row of a file: nothing runs, or it is left out, counted and said.",
    )
    mixture: dict[SetName, Annotated[float, Field(gt=0, le=100)]] | None = Field(
        None,
        min_length=1,
        description="With corpus: packages, how often one pass over the corpus meets each set of "
        "documents, such as {wiki-summaries: 1, wordnet: 0.25}; below 1 it is a share of its "
        "titles. null: short texts, some recipes and facts, as many as corpus_tokens asks for.",
    )


class TrainConfig(Section):
    """What every training stage has: optimizer, schedule, precision, checkpoints."""

    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Shape of the learning rate after warm-up."
    )
    warmup_fraction: Fraction = Field(0.0, description="Share of the steps with linear warm-up.")
    final_fraction: Fraction = Field(
        0.1, description="Learning rate at the end, as a share of the peak (paper: 0.1)."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay on matrices.")
    adam_beta1: Decay = Field(0.9, description="Adam's first decay (paper: 0.9).")
    adam_beta2: Decay = Field(0.95, description="Adam's second decay (paper: 0.95).")
    adam_eps: float = Field(1e-8, gt=0, description="Adam's epsilon; 1e-5 is usual in PPO.")
    max_grad_norm: float = Field(1.0, gt=0, description="Global gradient norm is clipped here.")
    microbatch_tokens: int = Field(
        8192, gt=0, description="Padded tokens in one forward pass; memory only, never results."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="bf16 runs matrix products in bfloat16; weights stay fp32. auto: bf16 where "
        "the processor multiplies it, else fp32.",
    )
    spare_memory: bool = Field(
        False,
        description="Give freed memory back at once, and sample without copies of the weights: a "
        "tenth less memory beside 100M weights and more, for up to half more time. sft's holds for "
        "sampling and evaluation, too, as its precision does.",
    )
    checkpoint_every: int = Field(50, gt=0, description="Steps between resumable checkpoints.")


class LoRAConfig(Section):
    """Low-rank adapters (peft) instead of full fine-tuning."""

    rank: int = Field(16, gt=0, description="Rank of the adapters. Usually 8 to 64.")
    alpha: float = Field(32.0, gt=0, description="Adapters are scaled by alpha / rank.")


class PretrainConfig(TrainConfig):
    """Next-token prediction on packed documents (GPT-3 section 2 and appendix B)."""

    num_tokens: int = Field(1_500_000, gt=0, description="Tokens to train on in all.")
    batch_tokens: int = Field(4096, gt=0, description="Tokens in one optimizer step.")
    sequence_length: int = Field(128, gt=1, description="Packed documents are cut at this length.")
    num_valid_sequences: int = Field(64, gt=0, description="Held-out sequences in each look.")
    eval_every: int = Field(50, gt=0, description="Steps between looks at held-out text.")

    @property
    def num_steps(self) -> int:
        return max(1, self.num_tokens // self.batch_tokens)

    @property
    def batch_sequences(self) -> int:
        return self.batch_tokens // self.sequence_length

    @model_validator(mode="after")
    def _batch_holds_sequences(self) -> "PretrainConfig":
        if self.batch_tokens % self.sequence_length:
            low = self.batch_tokens // self.sequence_length * self.sequence_length
            raise ValueError(
                f"batch_tokens {self.batch_tokens} does not divide by sequence_length "
                f"{self.sequence_length}. Try {low or self.sequence_length}"
            )
        return self


class SFTConfig(TrainConfig):
    """Supervised fine-tuning on demonstrations (InstructGPT section 3.5 and appendix C.1)."""

    num_epochs: int = Field(4, gt=0, description="Passes over the demonstrations (paper: 16).")
    batch_size: int = Field(32, gt=0, description="Demonstrations in one optimizer step.")
    loss_on_prompt: bool = Field(False, description="Also learn to predict the prompt.")
    ptx_fraction: float = Field(
        0.0, ge=0, lt=1, description="Share of pretraining text mixed in (paper: none in SFT)."
    )
    ptx_sequence_length: int = Field(128, gt=1, description="Tokens of a pretraining sequence.")
    choose_by: Literal["last", "valid_loss", "reward_model"] = Field(
        "last",
        description="Which epoch is kept: the last, the one of lowest held-out loss, or, as the "
        "paper did, the one whose responses an earlier reward model likes best.",
    )
    reward_model: str | None = Field(
        None, description="Folder of the earlier reward model for choose_by: reward_model."
    )
    lora: LoRAConfig | None = Field(None, description="Adapters instead of full fine-tuning.")

    @model_validator(mode="after")
    def _reward_model_is_named(self) -> "SFTConfig":
        if (self.choose_by == "reward_model") != (self.reward_model is not None):
            raise ValueError(
                "choose_by: reward_model and a reward_model folder go together. Set both or neither"
            )
        return self


class SampleConfig(Section):
    """Responses of the SFT model for labelers to rank (InstructGPT section 3.4)."""

    min_responses: int = Field(4, ge=2, le=9, description="Smallest K.")
    max_responses: int = Field(9, ge=2, le=9, description="Largest K.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature.")

    @model_validator(mode="after")
    def _range(self) -> "SampleConfig":
        if self.min_responses > self.max_responses:
            raise ValueError(
                f"min_responses {self.min_responses} is above max_responses {self.max_responses}"
            )
        return self


class RankConfig(Section):
    """Simulated labelers: the judge seen through noise, taste and error."""

    num_labelers: int = Field(20, gt=0, description="Labelers who share the training prompts.")
    num_heldout_labelers: int = Field(
        5, gt=1, description="Labelers who rank the validation prompts only."
    )
    labels_per_prompt: int = Field(
        1, gt=0, description="Labelers on each training prompt (paper: mostly 1)."
    )
    labels_per_valid_prompt: int = Field(
        2, gt=1, description="Labelers on each validation prompt, so that agreement is known."
    )
    temperature: float = Field(0.07, ge=0, description="Noise on the judge's score.")
    error_rate: Fraction = Field(0.03, description="Chance that a response is misjudged wholly.")
    tie_margin: float = Field(0.02, ge=0, description="Scores nearer than this are tied.")
    taste_spread: float = Field(0.2, ge=0, description="How much labelers differ in what counts.")
    noise: Literal["normal", "gumbel"] = Field(
        "normal",
        description="Shape of the noise: normal (Thurstone), or gumbel, whose orders are those of "
        "Plackett and Luce and whose pairs are Davidson's.",
    )

    @model_validator(mode="after")
    def _enough_labelers(self) -> "RankConfig":
        for labels, labelers in (
            ("labels_per_prompt", "num_labelers"),
            ("labels_per_valid_prompt", "num_heldout_labelers"),
        ):
            wanted, there = getattr(self, labels), getattr(self, labelers)
            if wanted > there:
                raise ValueError(
                    f"{labels} {wanted} is over {labelers} {there}; nobody ranks a prompt twice"
                )
        return self


class RewardConfig(TrainConfig):
    """The K-wise reward model (InstructGPT section 3.5, eq. 1)."""

    num_epochs: int = Field(
        1, gt=0, description="Passes over the rankings (paper: 1; more overfit)."
    )
    batch_prompts: int = Field(
        16, gt=0, description="Prompts, each with all its pairs, in one step."
    )
    eval_every: int = Field(50, gt=0, description="Steps between looks at held-out rankings.")
    min_accuracy: Fraction = Field(
        0.6,
        description="PPO does not start below this accuracy on held-out labels.",
    )
    lora: LoRAConfig | None = Field(None, description="Adapters instead of full fine-tuning.")


def _require_no_password(address: str) -> None:
    try:
        password = urlsplit(address).password
    except ValueError:
        password = None
    if password is not None:
        raise ValueError(
            "label_store has a password in it, and the run folder keeps the recipe. Leave it out "
            "and set PGPASSWORD"
        )


def _require_host(address: str) -> None:
    try:
        parts = urlsplit(address)
        known = parts.hostname and parts.port != 0  # asking for the port checks it
    except ValueError:
        known = False
    if not known or not address.isascii():
        raise ValueError(
            f"reward {address!r} is no address of a service. It looks like http://host:8000/score"
        )


class PPOStartConfig(SFTConfig):
    """The model of its own that PPO starts from (InstructGPT appendix C.3); else as `sft`."""

    num_epochs: int = Field(2, gt=0, description="Passes over the demonstrations (paper: 2).")
    ptx_fraction: float = Field(
        0.1, ge=0, lt=1, description="Share of pretraining text mixed in (paper: 0.1)."
    )


class PPOConfig(TrainConfig):
    """PPO with a per-token KL penalty and, for PPO-ptx, pretraining gradients (eq. 2)."""

    schedule: Literal["cosine", "linear", "constant"] = Field(
        "constant", description="Shape of the learning rate after warm-up (paper: constant)."
    )
    warmup_fraction: Fraction = Field(
        0.02, description="Share of the steps with linear warm-up (paper: 10 of 500 iterations)."
    )
    adam_eps: float = Field(1e-5, gt=0, description="Adam's epsilon (Ziegler et al.: 1e-5).")
    num_iterations: int = Field(50, gt=0, description="Turns of sample, score, improve.")
    batch_size: int = Field(128, gt=0, description="Episodes in one iteration (paper: 512).")
    num_minibatches: int = Field(4, gt=0, description="Optimizer steps per pass (paper: 8).")
    num_epochs: int = Field(1, gt=0, description="Passes over each batch (paper: 1).")
    temperature: float = Field(1.0, gt=0, description="Of sampling, reference and update alike.")
    kl_coef: float = Field(0.02, ge=0, description="The paper's beta, score per nat (paper: 0.02).")
    kl_target: float | None = Field(
        None,
        gt=0,
        description="Nats from the reference, a response, at which an adaptive kl_coef aims "
        "(Ziegler et al.: 6); null keeps it fixed (paper).",
    )
    kl_horizon: float = Field(
        10_000,
        gt=0,
        description="Episodes in which an adaptive kl_coef changes by a fifth at most.",
    )
    ptx_coef: float = Field(
        0.0,
        ge=0,
        description="The paper's gamma: weight of the pretraining loss. 0 is plain PPO; "
        "docs/ptx.md tells what the paper's 27.8 is in these units.",
    )
    ptx_ratio: float = Field(1.0, gt=0, description="Pretraining sequences per episode (paper: 8).")
    ptx_sequence_length: int = Field(128, gt=1, description="Tokens of a pretraining sequence.")
    gamma: Fraction = Field(1.0, description="Discount (paper: 1).")
    gae_lambda: Fraction = Field(0.95, description="0 trusts the values, 1 the rewards alone.")
    clip_range: float = Field(0.2, gt=0, description="Ratio clip (paper: 0.2).")
    value_clip_range: float = Field(0.2, gt=0, description="Value clip, in units of the reward.")
    value_learning_rate: float = Field(1e-3, gt=0, description="The value model's own peak rate.")
    value_from: Literal["reward", "policy"] = Field(
        "reward",
        description="The value model starts as the reward model (paper), or as the policy with a "
        "head of zeros.",
    )
    value_warmup_iterations: int = Field(
        0, ge=0, description="First iterations in which only the value model learns."
    )
    old_logprobs: Literal["training", "sampling"] = Field(
        "training",
        description="The ratio's old log-probabilities: of the training forward, or kept from "
        "sampling, a pass less, for as long as the two differ by rounding only.",
    )
    whiten_advantages: bool = Field(True, description="Masked mean 0 and std 1 over the batch.")
    scale_scores: bool = Field(
        False, description="Divide scores by the std of all scores so far (paper: no)."
    )
    score_clip: float | None = Field(
        None, gt=0, description="Scores, scaled or not, are held within this (paper: no)."
    )
    missing_eos_score: float | None = Field(
        -1.0, description="Score of a response without an end token; null keeps the model's."
    )
    ema_decay: Decay = Field(
        0.992, description="Moving average of the policy's weights per optimizer step; 0 is off."
    )
    eval_every: int = Field(
        50, gt=0, description="Iterations between looks at held-out prompts; the best look is kept."
    )
    patience: int | None = Field(
        None, gt=0, description="Stop after so many looks without a better held-out judgement."
    )
    reward: str = Field(
        "reward_model",
        description="reward_model, your own module:function, or the http:// address of a service.",
    )
    lora: LoRAConfig | None = Field(None, description="Adapters instead of full fine-tuning.")

    @property
    def is_service(self) -> bool:
        """Whether the scores come from a web service."""
        return self.reward.startswith(("http://", "https://"))

    @property
    def minibatch_size(self) -> int:
        return self.batch_size // self.num_minibatches

    @model_validator(mode="after")
    def _batch_divides(self) -> "PPOConfig":
        if self.batch_size % self.num_minibatches:
            low = self.batch_size // self.num_minibatches * self.num_minibatches
            raise ValueError(
                f"batch_size {self.batch_size} does not divide by num_minibatches "
                f"{self.num_minibatches}. Try {low or self.num_minibatches} "
                f"or {low + self.num_minibatches}"
            )
        if self.value_warmup_iterations >= self.num_iterations:
            raise ValueError(
                f"value_warmup_iterations {self.value_warmup_iterations} leaves the policy none of "
                f"num_iterations {self.num_iterations}. Lower it"
            )
        if self.reward != "reward_model" and ":" not in self.reward:
            raise ValueError(
                f"reward {self.reward!r} is neither reward_model nor a module:function of yours, "
                "nor the http:// address of a service"
            )
        if self.is_service:
            _require_host(self.reward)
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError(
                "kl_target needs a kl_coef above 0: an adaptive coefficient is multiplied, and 0 "
                "stays 0. Set kl_coef, or kl_target: null"
            )
        fixed, clip = self.missing_eos_score, self.score_clip
        if clip is not None and fixed is not None and abs(fixed) > clip and not self.scale_scores:
            raise ValueError(
                f"score_clip {clip} is within missing_eos_score {fixed}: a response without an end "
                "would cost less than it should. Raise the clip"
            )
        if self.kl_target is not None and self.kl_horizon < self.batch_size:
            raise ValueError(
                f"kl_horizon {self.kl_horizon:g} is below batch_size {self.batch_size}: the "
                "coefficient would jump. Raise it"
            )
        return self


class EvaluateConfig(Section):
    """Held-out comparison of every model of the run."""

    temperature: float = Field(1.0, gt=0, description="Of the compared responses (paper: 1).")
    num_shots: int = Field(3, gt=0, description="Demonstrations in the few-shot prefix.")
    num_prefixes: int = Field(
        4,
        gt=0,
        description="Prefixes tried; the reward model picks the best on validation prompts.",
    )
    num_prompts: int | None = Field(
        None, gt=0, description="First so many test prompts; null: all."
    )
    num_tax_sequences: int = Field(128, gt=0, description="Held-out pretraining sequences.")


class Recipe(Section):
    """A whole run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Run's name.")
    seed: int = Field(0, ge=0, description="Everything random is derived from it.")
    num_threads: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="CPU threads; results are bit-identical only for the same number.",
    )
    model: str | Architecture = Field(
        description="A folder or hub name of a causal LM, smollm2, or an architecture to pretrain."
    )
    tokenizer: str | TokenizerConfig | None = Field(
        None,
        description="Of an architecture: miniature, gpt2, a folder or hub name, or a section that "
        "trains one on the corpus; null: miniature. A given model brings its own.",
    )
    corpus: str | None = Field(
        None,
        description="Pretraining text: miniature, packages, a file, hf:NAME, or the folder of a "
        "built corpus.",
    )
    prompts: str | None = Field(
        None,
        description="Prompts: miniature, packages, a file, hf:NAME; null: those of demonstrations.",
    )
    demonstrations: str | None = Field(
        description="Demonstrations: miniature, packages, a file, or hf:NAME; null: the run ends "
        "with the pretrained model."
    )
    rankings: str | None = Field(
        None,
        description="A file or hf:NAME of rankings; null: sampled from sft, ranked by labelers.",
    )
    labels: Literal["simulated", "store", "people"] = Field(
        "simulated",
        description="Who ranks the responses, and where: simulated labelers in this process; the "
        "same ones through the labeling app (store); or people there, and the run ends until their "
        "labels are in and goes on when it is started again.",
    )
    label_store: str | None = Field(
        None,
        description="With labels store or people: the store's file or address, made if it is not "
        "there. null: labels.db in the run folder.",
    )
    judge: Literal["miniature", "rubric"] = Field(
        "rubric", description="What simulated labelers see through noise, and evaluation without."
    )
    max_prompt_tokens: int = Field(
        64, gt=0, description="Longer prompts are left out, and counted."
    )
    max_response_tokens: int = Field(
        32, gt=0, description="Longer responses are cut in sampling, and left out of SFT."
    )
    rounds: int = Field(
        1,
        gt=0,
        le=100,
        description="Times that rankings are collected, the prompts shared out: of the SFT model "
        "first, then of the policy so far; each round trains a reward model from scratch on all "
        "rankings and PPO from its start again (section 3.1).",
    )
    data: DataConfig = Field(default_factory=DataConfig, description="Sizes of the sources.")
    pretrain: PretrainConfig | None = Field(None, description="Absent: the model is pretrained.")
    sft: SFTConfig = Field(default_factory=SFTConfig, description="Supervised fine-tuning.")
    sample: SampleConfig = Field(default_factory=SampleConfig, description="Responses to rank.")
    rank: RankConfig = Field(default_factory=RankConfig, description="The labelers.")
    reward: RewardConfig = Field(default_factory=RewardConfig, description="Reward model.")
    ppo_start: PPOStartConfig | None = Field(
        None,
        description="A model of its own to start PPO from and to hold it to (appendix C.3); starts "
        "from sft's keys but for num_epochs and ptx_fraction. Absent: the SFT model.",
    )
    ppo: PPOConfig | None = Field(None, description="PPO without pretraining gradients.")
    ppo_ptx: PPOConfig | None = Field(None, description="PPO-ptx; starts from ppo's keys.")
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig, description="Evaluation.")

    @model_validator(mode="after")
    def _parts_fit(self) -> "Recipe":
        prompts = self.prompts or self.demonstrations
        self._ends_or_goes_on()
        for part in ("demonstrations", "prompts", "rankings"):
            named = getattr(self.data, f"{part}_format")
            if named is not None and getattr(self, part) in (None, "miniature", "packages"):
                raise ValueError(
                    f"data.{part}_format is {named}, and {part} is no file. Name the file, or "
                    "leave the format out"
                )
        if self.data.mixture is not None and self.corpus != "packages":
            raise ValueError(
                f"data.mixture is of the packages' texts, and corpus is {self.corpus}. Set corpus: "
                "packages, or leave the mixture out"
            )
        if isinstance(self.model, str) and self.tokenizer is not None:
            raise ValueError(
                f"tokenizer is for a model of random weights, and {self.model} brings its own. "
                "Leave it out"
            )
        if self.demonstrations is None:
            pass  # nothing is judged
        elif self.judge == "miniature" and (prompts != "miniature" or self.rankings):
            raise ValueError(
                "judge miniature knows the miniature's own prompts only. Set judge: rubric, or "
                "prompts: miniature and no rankings"
            )
        if isinstance(self.model, Architecture):
            sources = {"corpus": self.corpus, "prompts": prompts}
            sources |= {"demonstrations": self.demonstrations, "rankings": self.rankings}
            for key, source in sources.items():
                if self.tokenizer in (None, "miniature") and source not in (None, "miniature"):
                    named = "a file" if key == "rankings" else source
                    raise ValueError(
                        f"an architecture has the miniature's vocabulary, and {key} is {named}. "
                        "Set tokenizer: {vocabulary_size: 8192} to train one on the corpus, or "
                        "name a model folder"
                    )
            if self.pretrain is None:
                raise ValueError("an architecture needs a pretrain section, its weights are random")
            needed = self.max_prompt_tokens + self.max_response_tokens
            # A recipe that only pretrains has no prompts.
            if self.demonstrations is not None and needed > self.model.context_length:
                raise ValueError(
                    f"max_prompt_tokens {self.max_prompt_tokens} + max_response_tokens "
                    f"{self.max_response_tokens} is over model.context_length "
                    f"{self.model.context_length}. Lower one or raise the context"
                )
            if self.pretrain.sequence_length > self.model.context_length:
                raise ValueError(
                    f"pretrain.sequence_length {self.pretrain.sequence_length} is over "
                    f"model.context_length {self.model.context_length}"
                )
            for name, stage in self.ptx_stages().items():
                if stage.ptx_sequence_length > self.model.context_length:
                    raise ValueError(
                        f"{name}.ptx_sequence_length {stage.ptx_sequence_length} is over "
                        f"model.context_length {self.model.context_length}"
                    )
        if self.labels != "simulated" and self.rankings is not None:
            raise ValueError(
                f"labels {self.labels} asks labelers, and rankings is a file of their answers. "
                "Leave one of the two out"
            )
        if self.label_store is not None and self.labels == "simulated":
            raise ValueError(
                "label_store is for labels store or people, and labels is simulated. Set labels, "
                "or leave label_store out"
            )
        if self.label_store is not None and "://" in self.label_store:
            _require_no_password(self.label_store)
        if self.rounds > 1 and self.rankings is not None:
            raise ValueError(
                f"rounds {self.rounds} asks labelers again, and rankings is a file whose labelers "
                "cannot be asked. Set rounds: 1, or leave rankings out"
            )
        if self.rounds > 1 and self.ppo is None and self.ppo_ptx is None:
            raise ValueError(
                f"rounds {self.rounds} ranks the policy of PPO, and there is no ppo or ppo_ptx. "
                "Add one, or set rounds: 1"
            )
        if self.ppo_start is not None and self.ppo is None and self.ppo_ptx is None:
            raise ValueError("ppo_start is for ppo or ppo_ptx, and there is neither. Leave it out")
        if self.pretrain is not None and self.corpus is None:
            raise ValueError("pretrain needs a corpus. Name a file of documents, or miniature")
        if self.corpus is None:
            for name in self.ptx_stages():
                raise ValueError(f"{name} needs a corpus for its pretraining gradients. Name one")
        return self

    def _ends_or_goes_on(self) -> None:
        """A recipe without demonstrations is one of pretraining and has nothing that needs them."""
        if self.demonstrations is not None:
            return
        if self.pretrain is None:
            raise ValueError(
                "there are neither demonstrations nor a pretrain section, so nothing would be "
                "trained. Name demonstrations, or add pretrain"
            )
        for key in ("prompts", "rankings", "ppo_start", "ppo", "ppo_ptx"):
            if getattr(self, key) is not None:
                raise ValueError(
                    f"{key} comes after demonstrations, and they are null. Name them, or leave "
                    f"{key} out"
                )

    def ptx_stages(self) -> "dict[str, SFTConfig | PPOConfig]":
        """The stages after pretraining that train on pretraining text too."""
        tuned = {"sft": self.sft if self.demonstrations else None, "ppo_start": self.ppo_start}
        rl = {"ppo": self.ppo, "ppo_ptx": self.ppo_ptx}
        mixed = {name: stage for name, stage in tuned.items() if stage and stage.ptx_fraction}
        return mixed | {name: stage for name, stage in rl.items() if stage and stage.ptx_coef}
