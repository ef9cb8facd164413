"""optuna-dashboard on a study: our figures and note on its page, pictures on its trials' pages."""

from lrsearch.dashboard.server import HOST, serve
from lrsearch.dashboard.study_page import refresh

__all__ = ["HOST", "refresh", "serve"]
