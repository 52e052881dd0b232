"""One self-contained page that tells what a run did, to somebody who reads nothing else."""

from pathlib import Path

import jinja2

from preceptor.report import pictures, words
from preceptor.report.reading import read_run

HERE = Path(__file__).parent


def write_report(folder: Path) -> Path:
    """Write FOLDER/report.html from the files of the run; the same files give the same bytes.

    Raises:
        DataError: the folder is not one of a run, or a file in it is broken.
    """
    run = read_run(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,  # responses and prompts are other people's text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "minutes": words.minutes,
        "signed": words.signed,
        "chips": words.chips,
        "prompt_text": words.prompt_text,
        "readable": words.readable,
        "source_title": words.source_title,
        "step_title": words.step_title,
    }
    page = environment.get_template("template.html.j2").render(
        run=run,
        results=run.results,
        figures=words.Figures(run.results),
        names=pictures.NAMES,
        colors=pictures.COLORS,
        tones={"training": pictures.TRAINING, "held_out": pictures.HELD_OUT},
        css=(HERE / "style.css").read_text(encoding="utf-8"),
        plots=pictures.draw(run),
        headline=words.headline(run),
        progress=words.progress(run),
        alarms=words.grouped_alarms(run.alarms),
        side_by_side=words.side_by_side(run),
        tables=words.tables(run.results),
        pair_groups=words.pair_groups(run.results),
        probes=pictures.PROBES,
        samples={s: words.samples_shown(run, s) for s in ("ppo", "ppo_ptx")},
    )  # fmt: skip
    path = folder / "report.html"
    partial = path.with_name("report.html.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path
