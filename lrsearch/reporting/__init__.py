"""What people look at: figures (Plotly), a report, optuna-dashboard with both on its pages.

A name is imported when it is asked for: figures take Plotly, the dashboard its server, and the
figures of diagnoses torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsearch.reporting.dashboard.server import HOST, serve
    from lrsearch.reporting.dashboard.study_page import refresh
    from lrsearch.reporting.figures.data import StudyData, read_data
    from lrsearch.reporting.figures.finder import range_tests
    from lrsearch.reporting.figures.gallery import gallery
    from lrsearch.reporting.figures.layout import FIGURES, read_layout
    from lrsearch.reporting.figures.stability import diagnosis_figures
    from lrsearch.reporting.report import REPORT_FORMATS, write_figures, write_page
    from lrsearch.reporting.report.confirmation import comparison_page, confirmation_page
    from lrsearch.reporting.report.content import make_report
    from lrsearch.reporting.report.page import Report


_NAMES = {
    "dashboard.server": ("HOST", "serve"),
    "dashboard.study_page": ("refresh",),
    "figures.data": ("StudyData", "read_data"),
    "figures.finder": ("range_tests",),
    "figures.gallery": ("gallery",),
    "figures.layout": ("FIGURES", "read_layout"),
    "figures.stability": ("diagnosis_figures",),
    "report": ("REPORT_FORMATS", "write_figures", "write_page"),
    "report.confirmation": ("comparison_page", "confirmation_page"),
    "report.content": ("make_report",),
    "report.page": ("Report",),
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for."""
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"lrsearch.reporting.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
