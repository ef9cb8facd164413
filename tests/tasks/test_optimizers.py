"""Torch's optimizers against their update rules in NumPy, and where torch leaves the textbook."""

import inspect
import math

import numpy as np
import pytest
import torch

from lrsearch.errors import TaskError
from lrsearch.schedules.domains import Float
from lrsearch.tasks.adam import BETAS, SEARCHED
from lrsearch.tasks.optimizers import OPTIMIZERS, build_optimizer, optimizer_kind

WEIGHTS = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.random.default_rng(0).normal(size=(5, 3))
RATES = [0.1, 0.03, 0.3, 0.0, 0.07]


@pytest.fixture(autouse=True)
def _double_precision():
    """Make NAdam keep its product of momenta in double precision; it takes the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(spec, gradients, rates, weights=0.0):
    """Return torch's weights after each update with the given gradient and rate."""
    weight = torch.nn.Parameter(torch.tensor(np.full_like(gradients[0], weights)))
    optimizer = build_optimizer(spec, [weight], lr=1.0)
    trace = []
    for gradient, lr in zip(gradients, rates, strict=True):
        weight.grad = torch.as_tensor(gradient)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        trace.append(weight.detach().numpy().copy())
    return np.array(trace)


def sgd(w, g, lr, t, state):
    return w - lr * g


def momentum(w, g, lr, t, state):
    state["v"] = 0.9 * state.get("v", 0) + g
    return w - lr * state["v"]


def nesterov(w, g, lr, t, state):
    state["v"] = 0.9 * state.get("v", 0) + g
    return w - lr * (g + 0.9 * state["v"])


def rmsprop(w, g, lr, t, state):
    state["s"] = 0.99 * state.get("s", 0) + 0.01 * g**2
    return w - lr * g / (np.sqrt(state["s"]) + 1e-8)


def adam(w, g, lr, t, state):
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["s"] = 0.999 * state.get("s", 0) + 0.001 * g**2
    corrected_m, corrected_s = state["m"] / (1 - 0.9**t), state["s"] / (1 - 0.999**t)
    return w - lr * corrected_m / (np.sqrt(corrected_s) + 1e-8)


def nadam(w, g, lr, t, state):
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["s"] = 0.999 * state.get("s", 0) + 0.001 * g**2
    mu, coming_mu = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * when)) for when in (t, t + 1))
    state["product"] = state.get("product", 1) * mu
    corrected_m = (1 - mu) * g / (1 - state["product"])
    corrected_m = corrected_m + coming_mu * state["m"] / (1 - state["product"] * coming_mu)
    return w - lr * corrected_m / (np.sqrt(state["s"] / (1 - 0.999**t)) + 1e-8)


def adamw(w, g, lr, t, state):
    return adam(w - lr * 0.01 * w, g, lr, t, state)


RULES = [sgd, momentum, nesterov, rmsprop, adam, nadam, adamw]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_torch_follows_the_rule(rule):
    state, w, expected = {}, WEIGHTS, []
    for t, (g, lr) in enumerate(zip(GRADIENTS, RATES, strict=True), 1):
        w = rule(w, g, lr, t, state)
        expected.append(w)
    seen = trained(rule.__name__, GRADIENTS, RATES, WEIGHTS)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-12)


def test_every_optimizer_has_its_rule():
    assert [rule.__name__ for rule in RULES] == list(OPTIMIZERS)


# Where torch leaves the textbook: one test each, which the textbook's rule fails.


def test_a_new_rate_acts_at_once_on_all_of_the_velocity():
    first, second = trained("momentum", [1.0, 0.0], [1.0, 0.1])
    assert first == -1.0  # the first velocity is the gradient
    assert second - first == pytest.approx(-0.1 * 0.9)  # v ← μv − ηg would go on by 0.9


def test_rmsprops_first_updates_are_ten_times_as_long():
    # With its average corrected, as in Adam, the first would have the length of the rate.
    (first,) = trained("rmsprop", [3.0], [0.1])
    assert first == pytest.approx(-10 * 0.1)


def test_rmsprops_epsilon_stands_outside_the_root():
    (first,) = trained({"name": "rmsprop", "eps": 1e-4}, [1e-12], [1.0])
    assert first == pytest.approx(-1e-12 / 1e-4)  # inside it would be 1e-12 / √1e-4


def test_nadams_momentum_starts_at_half_of_beta_and_rises_to_it():
    def first_update(mu):
        return -(1 + mu / (1 - mu**2) * (1 - 0.9))

    (early,) = trained("nadam", [1.0], [1.0])
    (late,) = trained({"name": "nadam", "momentum_decay": 1e4}, [1.0], [1.0])
    assert early == pytest.approx(first_update(0.45), rel=1e-3)
    assert late == pytest.approx(first_update(0.9), rel=1e-3)


def test_adamws_decay_bypasses_the_averages_and_adams_does_not():
    (decoupled,) = trained({"name": "adamw", "weight_decay": 0.2}, [0.0], [0.1], 5.0)
    (coupled,) = trained({"name": "adam", "weight_decay": 0.2}, [0.0], [0.1], 5.0)
    assert decoupled == pytest.approx(5 * (1 - 0.1 * 0.2))
    assert coupled == pytest.approx(5 - 0.1)


# Adam's own options, as they are searched


@pytest.mark.parametrize("name", ["adam", "nadam", "adamw"])
def test_one_minus_a_beta_stands_for_it(name):
    kind, options = optimizer_kind({"name": name, "one_minus_beta2": 0.25, "eps": 1e-6})
    assert options == {"betas": [0.9, 0.75], "eps": 1e-6}
    assert inspect.signature(kind.cls).parameters["betas"].default == BETAS
    given = trained({"name": name, "betas": (0.75, 0.999)}, GRADIENTS, RATES, WEIGHTS)
    stands = trained({"name": name, "one_minus_beta1": 0.25}, GRADIENTS, RATES, WEIGHTS)
    np.testing.assert_array_equal(given, stands)
    for option, domain in SEARCHED.items():
        for value in domain.extremes():
            build_optimizer({"name": name, option: value}, [torch.nn.Parameter(torch.ones(1))], 0.1)


# What a study file may say


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "adam", "one_minus_beta1": 0.0}, "must be in (0, 1], but got 0.0"),
        ({"name": "adam", "one_minus_beta2": True}, "must be in (0, 1], but got True"),
        ({"name": "adam", "one_minus_beta1": 0.1, "betas": [0.9, 0.9]}, "leave one of them out"),
        ({"name": "momentum", "one_minus_beta1": 0.1}, "has no option 'one_minus_beta1'"),
        ("adamm", "the name 'adamm'; did you mean 'adam'?"),
        ("lion", "known: adam, adamw, momentum, nadam, nesterov, rmsprop, "),
        ({"momentum": 0.9}, "the name None"),
        ({"name": ["sgd"]}, "the name ['sgd']"),
        ({"name": "adam", "beta": (0.9, 0.99)}, "no option 'beta'; did you mean 'betas'?"),
        ({"name": "sgd", "lr": 0.1}, "'sgd' has no option 'lr'"),  # the schedule gives it
        ({"name": "sgd", "momentum": -1.0}, "torch says: Invalid momentum value"),
        ({"name": "adam", "betas": 0.9}, "torch says: "),
        ({"name": "adam", "fused": True, "foreach": True}, "torch says: `fused` and `foreach`"),
    ],
)
def test_a_mistake_is_told(spec, said):
    with pytest.raises(TaskError) as error:
        build_optimizer(spec, [torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert said in str(error.value)


def test_options_reach_torch_and_override_the_defaults():
    spec = {"name": "nesterov", "momentum": 0.5, "weight_decay": 1e-4}
    optimizer = build_optimizer(spec, [torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    assert optimizer.param_groups[0].items() >= {
        ("lr", 0.2),
        ("momentum", 0.5),
        ("nesterov", True),
        ("weight_decay", 1e-4),
    }
    assert spec["name"] == "nesterov"  # what is given stays as it is


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_usual_base_lr_spans_two_decades_on_a_log_axis(name):
    domain = optimizer_kind(name)[0].base_lr
    assert isinstance(domain, Float)
    assert domain.log
    assert math.log10(domain.high / domain.low) >= 2
