"""Figures (Plotly): each one function from what a study's storage holds to a figure."""

from lrsearch.figures.data import StudyData, TrialData, read_data
from lrsearch.figures.gallery import gallery
from lrsearch.figures.layout import FIGURES, read_layout

__all__ = ["FIGURES", "StudyData", "TrialData", "gallery", "read_data", "read_layout"]
