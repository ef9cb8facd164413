"""The finder's rules on curves whose steepest point is known."""

import numpy as np
import pytest

from lrsearch.diagnosis.rules import RULES, edge, smooth, steepest

CENTER = -2.07


def curve(rng, noise=0.1):
    """A loss that falls along a sigmoid around CENTER and blows up from 10^−0.6 on."""
    log_lrs = np.arange(-7, 1, 0.02)
    falling = 2.3 - 1.6 / (1 + np.exp(-(log_lrs - CENTER) / 0.22))
    clean = falling + 0.05 * np.exp((log_lrs + 0.6) / 0.16)
    end = int(np.argmax(clean > 4 * np.minimum.accumulate(clean)))
    return 10 ** log_lrs[:end], (clean + noise * rng.standard_normal(len(clean)))[:end]


def test_steepest_has_little_bias_and_spread():
    rng = np.random.default_rng(0)
    picks = [steepest(smooth(*curve(rng))) for _ in range(100)]
    assert abs(np.mean(picks) - CENTER) < 0.05
    assert np.std(picks) < 0.1


@pytest.mark.parametrize("name", RULES)
def test_every_rule_picks_a_rate_where_the_loss_falls(name):
    rng = np.random.default_rng(1)
    picks = np.array([RULES[name](smooth(*curve(rng))) for _ in range(50)])
    assert np.all((picks > CENTER - 0.6) & (picks < -0.6))
    assert picks.std() < 0.2


def test_the_edge_lies_between_the_lowest_loss_and_the_blow_up():
    rng = np.random.default_rng(2)
    edges = np.array([edge(smooth(*curve(rng))) for _ in range(50)])
    clean = smooth(*curve(rng, noise=0.0))
    assert np.all(edges > clean.log_lrs[clean.minimum])
    assert np.all(edges < 0.1)
    assert edges.std() < 0.1


def test_smoothing_keeps_a_straight_line_and_gives_its_slope():
    lrs = 10 ** np.arange(-5, 0, 0.05)
    smoothed = smooth(lrs, 3 - 0.4 * np.log10(lrs))
    np.testing.assert_allclose(smoothed.losses, 3 - 0.4 * np.log10(lrs), atol=1e-9)
    np.testing.assert_allclose(smoothed.slopes, -0.4, atol=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_curves_of_few_points_have_picks_too(name):
    for losses in ([2.0], [2.0, 1.0], [1.0, 2.0], [1.0, 1.0, 1.0]):
        lrs = 10 ** np.linspace(-3, -2, len(losses))
        assert np.isfinite(RULES[name](smooth(lrs, np.array(losses))))
