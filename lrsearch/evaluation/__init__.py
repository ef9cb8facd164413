"""What schedules are worth on other seeds: confirm the best, compare families, train once."""

from lrsearch.evaluation.answer import find_answer, read_answer
from lrsearch.evaluation.candidates import confirmation_spec
from lrsearch.evaluation.confirmation import (
    Confirmation,
    Entry,
    find_confirmation,
    read_confirmation,
)
from lrsearch.evaluation.families import (
    FamilyResult,
    comparison_spec,
    family_specs,
    read_comparison,
)
from lrsearch.evaluation.statistics import Comparison, compare
from lrsearch.evaluation.summary import confirmed_rows, summarize
from lrsearch.evaluation.train import (
    MODEL_ENDINGS,
    model_path,
    options_for,
    save_curve,
    save_model,
    train,
)
