"""What a PPO iteration was like, in numbers, in a line, and in its best and worst response."""

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from preceptor.functional import kl_k1, kl_k3
from preceptor.generation import Generated
from preceptor.models.tokenizers import decode


def summarize(
    scores: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    rewards: Tensor,
    rollout: Generated,
    mask: Tensor,
    history: list[dict[str, float]],
) -> dict[str, float]:
    """One iteration in numbers; docs/metrics.md says what each means."""
    lengths = mask.sum(1).float()
    metrics = {
        "ppo/score_mean": float(scores.mean()),
        "ppo/score_std": float(scores.std(correction=0)),
        "ppo/ref_kl": float((kl_k1(old_logprobs, ref_logprobs) * mask).sum(1).mean()),
        "ppo/ref_kl_k3": float((kl_k3(old_logprobs, ref_logprobs) * mask).sum(1).mean()),
        "ppo/rewards_mean": float((rewards * mask).sum(1).mean()),
        "ppo/length_mean": float(lengths.mean()),
        "ppo/truncated_fraction": 1 - sum(rollout.finished) / len(rollout.finished),
    }
    for key in sorted({key for stats in history for key in stats}):
        values = [stats[key] for stats in history if key in stats]
        pick = {"ratio_max": max, "ratio_min": min, "first_ratio_gap": max}.get(key)
        metrics[f"ppo/{key}"] = pick(values) if pick else sum(values) / len(values)
    metrics.setdefault("ppo/clip_fraction", 0.0)
    return metrics


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Share of the returns' variance that the values foresaw; 1 is perfect, below 0 is harmful."""
    spread = float(returns[mask].var(correction=0))
    left = float((returns - values)[mask].var(correction=0))
    return 1 - left / spread if spread > 0 else 0.0


def extremes(
    scores: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    prompts: list[list[int]],
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
) -> list[dict[str, object]]:
    """The best and the worst response of the batch, for eyes."""
    kl = (old_logprobs - ref_logprobs).sum(1)
    return [
        {
            "kind": kind,
            "prompt": decode(tokenizer, prompts[row]),
            "response": texts[row],
            "score": float(scores[row]),
            "ref_kl": float(kl[row]),
        }
        for kind, row in (("best", int(scores.argmax())), ("worst", int(scores.argmin())))
    ]


def console_line(metrics: dict[str, float], speed: float) -> str:
    """The things a person wants to see, in fixed order, within 80 columns."""
    line = (
        f"score {metrics['ppo/score_mean']:+.2f}  kl {metrics['ppo/ref_kl']:.1f} nats  "
        f"len {metrics['ppo/length_mean']:.0f}  clip {metrics['ppo/clip_fraction']:.2f}"
    )
    if "ppo/ptx_loss" in metrics:
        line += f"  ptx {metrics['ppo/ptx_loss']:.2f}"
    if "ppo/valid_judge_score" in metrics:
        return line + f"  judge {metrics['ppo/valid_judge_score']:.3f}"
    return line + f"  {speed:,.0f} tok/s"
