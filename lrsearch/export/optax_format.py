"""optax: a schedule of the count, its own where it has an exact one, else a table."""

from __future__ import annotations

from lrsearch.export.exported import Exported
from lrsearch.export.optimizers import caution, for_optax
from lrsearch.export.parts import before_plateau, drops, plateau_of
from lrsearch.export.source import STANDARD, formula, head, joined
from lrsearch.schedules import Plateau

_USAGE = """
Needs optax{injected}:

    optimizer = {optimizer}
{notes}"""
_LENGTH = """
It is for a run of TOTAL_STEPS updates. For another: `lrsearch export --format optax --steps ...`.
"""
_PLATEAU_USAGE = """
    plateau_state = plateau.init(params)
    # at every update
    updates, state = optimizer.update(gradients, state, params)
    updates = optax.tree.scale(plateau_state.scale, updates)
    # after every evaluation, which is what `patience` and `cooldown` count
    _, plateau_state = plateau.update(updates, plateau_state, value={value})

An improvement on a negative loss is never seen.
"""
_TABLE = '''
# a table: single precision would lose the formula's small last rates
RATES = jnp.asarray([Schedule().lr(step, TOTAL_STEPS) for step in range(TOTAL_STEPS)])


def learning_rate(count):
    """Return the rate of update `count`, from 0; past the end the last holds."""
    return RATES[jnp.minimum(count, TOTAL_STEPS - 1)]
'''
_MOMENTUM = '''
MOMENTA = jnp.asarray([Schedule().momentum(step, TOTAL_STEPS) for step in range(TOTAL_STEPS)])


def momentum(count):
    """Return the momentum of update `count`, from 0; past the end the last holds."""
    return MOMENTA[jnp.minimum(count, TOTAL_STEPS - 1)]
'''
_PLATEAU = """
plateau = optax.contrib.reduce_on_plateau(
    factor={drop_factor!r},
    patience={patience},  # optax drops at the last of these bad values, others after it
    rtol={threshold!r},
    atol={atol!r},
    cooldown={cooldown!r},
    min_scale={min_factor!r},
)
"""
_TABLE_IMPORTS = [*STANDARD, "import jax.numpy as jnp"]


def to_optax(best: Exported) -> str:
    """Return a module with `learning_rate`, and `momentum` or `plateau` where there is one.

    Raises:
        StudyError: for a `plateau` that never drops.
    """
    if shape := plateau_of(best):
        return _plateau(best, shape)
    found = drops(best)
    if found is not None:
        usage = _usage(best) + (_LENGTH if found else "")
        first = caution(best)
        return head(best, usage, ["import optax"], first) + _native(best.schedule.base_lr, found)
    moves = best.clock.momentum(best.schedule, 0) is not None
    return joined(
        head(best, _usage(best, moves=moves) + _LENGTH, _TABLE_IMPORTS, caution(best)),
        formula(best.schedule, best.clock),
        _TABLE,
        *([_MOMENTUM] if moves else []),
    )


def _usage(best: Exported, *, moves: bool = False) -> str:
    optimizer, notes = for_optax(best, moves=moves)
    return _USAGE.format(
        injected=". What moves must be injected" if moves else "",
        optimizer=optimizer,
        notes="".join(f"\nNote: {note}.\n" for note in notes),
    )


def _native(base_lr: float, found: list[tuple[int, float]]) -> str:
    if not found:
        return "learning_rate = optax.constant_schedule(BASE_LR)\n"
    scales, last = {}, base_lr
    for step, rate in found:
        scales[step], last = rate / last, rate
    return f"learning_rate = optax.piecewise_constant_schedule(BASE_LR, {scales})\n"


def _plateau(best: Exported, shape: Plateau) -> str:
    value = f"-{shape.metric}" if shape.maximize else shape.metric  # optax's only direction is down
    usage = _usage(best) + _PLATEAU_USAGE.replace("{value}", value)
    first = caution(best)
    rule = _PLATEAU.format(
        **vars(shape) | {"patience": shape.patience + 1},
        atol=0.0 if shape.threshold else 1e-30,  # optax refuses two zeros
    )
    if best.schedule.warmup is None:
        return joined(
            head(best, usage, ["import optax", "import optax.contrib"], first)
            + _native(best.schedule.base_lr, []),
            rule,
        )
    return joined(
        head(best, usage, [*_TABLE_IMPORTS, "import optax.contrib"], first),
        formula(before_plateau(best.schedule), best.clock),
        _TABLE,
        rule,
    )
