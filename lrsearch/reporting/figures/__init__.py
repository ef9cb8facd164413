"""Figures (Plotly): each one function from what a study's storage holds to a figure."""
