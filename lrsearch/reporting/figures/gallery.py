"""The families side by side: the curve of each with its default parameters."""

from __future__ import annotations

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from lrsearch.reporting.figures.style import HUES
from lrsearch.schedules import Schedule, families

_STEPS = 500
_LOSSES = [1.0, 0.8, 0.7, 0.7, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6]
_COLUMNS = 4


def gallery() -> Figure:
    """Draw every family with its default parameters: multiple of `base_lr` over the run.

    `plateau` is drawn for ten evaluations whose losses stop improving twice.
    """
    rows = -(-len(families) // _COLUMNS)
    drawn = make_subplots(
        rows,
        _COLUMNS,
        subplot_titles=list(families),
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.09,
    )
    x = [step / _STEPS for step in range(_STEPS)]
    for index, family in enumerate(families.values()):
        curve = Schedule(family(), base_lr=1.0).curve(_STEPS, _LOSSES)
        line = Scatter(
            x=x,
            y=curve,
            mode="lines",
            line={"color": HUES[0], "width": 2},
            name=family.name,
            hovertemplate="%{x:.0%} of the run: %{y:.3f} · base_lr<extra></extra>",
        )
        drawn.add_trace(line, row=index // _COLUMNS + 1, col=index % _COLUMNS + 1)
    drawn.update_yaxes(range=[0, 1.05])
    drawn.update_yaxes(title_text="× base_lr", col=1)
    drawn.update_xaxes(tickformat=".0%", range=[0, 1], tickvals=[0, 0.5, 1])
    drawn.update_xaxes(title_text="of the run", row=rows)
    drawn.update_layout(
        title="Learning-rate schedules with their default parameters",
        template="plotly_white",
        showlegend=False,
        height=230 * rows,
        width=1150,
    )
    return drawn
