"""The tuning playbook's instability diagnosis, automated: what is unstable, and what cures it.

Godbole, Dahl, Gilmer, Shallue & Nado 2023, "Deep Learning Tuning Playbook", the section "How can
optimization failures be debugged and mitigated?".
"""

from lrsearch.stability.diagnosis import Diagnosis, clip_norm_p90, diagnose
from lrsearch.stability.trace import Trace, train_trace
from lrsearch.stability.verdict import patch, to_dict, verdict

__all__ = [
    "Diagnosis",
    "Trace",
    "clip_norm_p90",
    "diagnose",
    "patch",
    "to_dict",
    "train_trace",
    "verdict",
]
