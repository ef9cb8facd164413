"""Before a search: a first learning rate, and whether training is stable.

The learning-rate finder is Smith's range test. The diagnosis of instability follows Godbole, Dahl,
Gilmer, Shallue & Nado 2023, "Deep Learning Tuning Playbook", the section "How can optimization
failures be debugged and mitigated?".
"""

from lrsearch.diagnosis.finder import Finding, find_lr
from lrsearch.diagnosis.network import Network, inspect_network
from lrsearch.diagnosis.preparation import load_supervised, load_unclipped, prepare
from lrsearch.diagnosis.range_test import RangeTest, range_test
from lrsearch.diagnosis.rules import RULES, smooth
from lrsearch.diagnosis.stability import Diagnosis, clip_norm_at, diagnose
from lrsearch.diagnosis.trace import Trace, train_trace
from lrsearch.diagnosis.verdict import diagnosis_dict, patch, verdict
