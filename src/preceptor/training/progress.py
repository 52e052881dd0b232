"""What a person sees while a stage runs: one line a step on stderr, units on every number."""

import sys
import time


def say(line: str) -> None:
    """A line for people; results go to stdout, this goes to stderr."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Prints a stage's lines at most every `every_seconds`, and always the first and the last."""

    def __init__(self, stage: str, num_steps: int, start: int, every_seconds: float = 2.0) -> None:
        self.stage, self.num_steps, self.start = stage, num_steps, start
        self.every_seconds = every_seconds
        self.began = self.last_said = time.monotonic()
        self.first = True
        if start:
            say(f"{stage} continues after step {start} of {num_steps}")

    def step(self, step: int, text: str, *, always: bool = False) -> None:
        """Say where `step` (from 1) stands, unless a line has just been said."""
        now = time.monotonic()
        last = step == self.num_steps
        if not (self.first or last or always or now - self.last_said >= self.every_seconds):
            return
        self.first, self.last_said = False, now
        left = (now - self.began) / max(1, step - self.start) * (self.num_steps - step)
        remaining = "" if last else f"  {_duration(left)} left"
        share = 100 * step // self.num_steps
        say(f"{self.stage} {step}/{self.num_steps} {share}%  {text}{remaining}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
