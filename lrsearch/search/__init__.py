"""What is tried next and what goes on: the space, the samplers, the pruners.

All of it keeps to Optuna's public interfaces, so that each part works in anybody's Optuna script.
"""

from lrsearch.search.checks import Shown, holds
from lrsearch.search.estimates import Estimate, SeedModel
from lrsearch.search.horizons import HorizonsPruner, check_horizons, default_horizons, with_longer
from lrsearch.search.pruners import PRUNERS, build_pruner
from lrsearch.search.rates_first import RatesFirstSampler
from lrsearch.search.rungs import Climb, Rung, Standing, rungs_of, values_in_full
from lrsearch.search.samplers import (
    LEARN_FROM_FEW,
    build_sampler,
    check_sampler,
    sampler_builder,
)
from lrsearch.search.seeded import SeededSampler, family_in_turn, seen_by_samplers, study_in_memory
from lrsearch.search.space import BASE_LR, SearchSpace, suggest_schedule
