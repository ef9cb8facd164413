"""What notebooks show of our values: a table and a curve, in HTML that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table; floats with four digits.

    Example:
        >>> table(("rate", "seeds"), [(0.12345, 3)])
        '<table><tr><th>rate</th><th>seeds</th></tr><tr><td>0.1235</td><td>3</td></tr></table>'
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{above}<tr>{head}</tr>{body}</table>"


def curve(values: Sequence[float], label: str, *, width: int = 320, height: int = 90) -> str:
    """Return a line through values that are not negative, from 0 up, as SVG.

    Example:
        >>> curve([1.0, 0.5], "a rate").startswith('<svg role="img" aria-label="a rate"')
        True
    """
    top = max(values) or 1.0
    across = max(1, len(values) - 1)
    points = " ".join(
        f"{2 + (width - 4) * place / across:.1f},{height - 2 - (height - 4) * value / top:.1f}"
        for place, value in enumerate(values)
    )
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}">'
        f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="2"/></svg>'
    )


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
