"""A run as HTML that needs nothing but itself.

Everything that came out of a file or a model is escaped by the template engine. Beyond that, the
page's own policy lets a browser run exactly the two scripts that are named by their hashes and
load nothing, so that even a slip in the escaping could not run or send anything.
"""

import base64
import hashlib
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from assay_data.dataset.overview import frequent_sizes, size_text
from assay_trainer.evaluation.summary import ROWS
from assay_trainer.report.charts import charts, missing
from assay_trainer.report.overview import overview_row, results, settings
from assay_trainer.report.reasoning import pieces
from assay_trainer.report.run import Run


def render(run: Run, written: datetime) -> str:
    """Return the page.

    Args:
        run: what is shown.
        written: when it was read, with a time zone.
    """
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["pieces"] = pieces
    environment.filters["size"] = size_text
    environment.filters["frequent_sizes"] = frequent_sizes
    stage_charts = {stage.name: charts(stage.metrics) for stage in run.stages}
    templates = files(__package__) / "templates"
    scripts = {"plotly": get_plotlyjs(), "script": (templates / "page.js").read_text()}
    return environment.get_template("page.html").render(
        run=run,
        written=written,
        rows=[overview_row(stage) for stage in run.stages],
        results={stage.name: results(stage) for stage in run.stages},
        settings={stage.name: settings(stage) for stage in run.stages},
        charts={name: [asdict(chart) for chart in of] for name, of in stage_charts.items()},
        missing={
            stage.name: missing(stage_charts[stage.name])
            for stage in run.stages
            if stage.method == "rl"
        },
        estimates=ROWS,
        style=(templates / "page.css").read_text(),
        script_hashes=[_hash(script) for script in scripts.values()],
        **scripts,
    )


def duration(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> duration(5.25), duration(754), duration(7384)
        ('5.2 s', '12 min 34 s', '2 h 03 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
