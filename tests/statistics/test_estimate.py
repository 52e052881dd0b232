"""An estimate, and that the room needs no torch."""

import subprocess
import sys

from preceptor.statistics import Estimate


def test_defined_estimate_has_no_reason():
    estimate = Estimate(0.5, 0.4, 0.6, 10, clusters=5, method="wilson")
    assert estimate.as_dict() == {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10}


def test_undefined_estimate_says_why():
    estimate = Estimate.undefined("there are no values", n=0)
    assert estimate.as_dict() == {
        "mean": None,
        "low": None,
        "high": None,
        "n": 0,
        "reason": "there are no values",
    }


def test_statistics_work_without_torch():
    """The labeling pages show agreement on machines that have no torch."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import preceptor.statistics as s\n"
        "print(s.win_rate([1, 0.5, 0], ['a', 'b', 'c']).mean)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 0.5
