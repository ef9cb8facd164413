"""A study: what it is (a file in TOML), made once, opened by its name, read trial by trial."""

from lrsearch.study.answer import Answer, Confirmed
from lrsearch.study.checks import check_task, first_epoch, rehearse
from lrsearch.study.create import create_study
from lrsearch.study.notes import study_notes
from lrsearch.study.open import confirmation_name, open_study
from lrsearch.study.records import (
    TrialRecord,
    as_record,
    find_duplicate,
    read_schedule,
    with_train,
)
from lrsearch.study.results import Attribute, Constraint, TrialResult, ranked, recovered
from lrsearch.study.sections import ConfirmSection, read_seconds
from lrsearch.study.spec import StudySpec
from lrsearch.study.status import (
    Ended,
    RunningTrial,
    Status,
    TrialStatus,
    WorkerStatus,
    no_result,
    read_status,
    why_ended,
    why_stopped,
)
from lrsearch.study.study import HORIZONS, SPEC, Study
from lrsearch.study.table import trial_rows
from lrsearch.study.trust import check_vouched, vouch
from lrsearch.study.versions import installed_versions
