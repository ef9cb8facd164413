"""optuna-dashboard on a study: our figures and note on its page, pictures on its trials' pages."""
