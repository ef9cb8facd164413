"""Keyed dropout drops as torch's does, and a key decides what, under vmap too."""

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional

from lrsearch.tasks.packs.keyed_dropout import KeyedDropout, scrambled

ONES = torch.ones(400, 500)


def dropped(key, p=0.3, calls=1, inputs=ONES):
    """Return what is left of the inputs after each call."""
    with KeyedDropout(torch.tensor(key)):
        return [functional.dropout(inputs, p) for _ in range(calls)]


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("key", [0, 1, 2**32 - 1])
def test_a_share_is_dropped_and_the_mean_kept(key, p):
    (left,) = dropped(key, p)
    assert left.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
    noise = (p * (1 - p) / left.numel()) ** 0.5
    assert abs(float((left == 0).double().mean()) - p) < 5 * noise
    for neighbours in ((left[1:], left[:-1]), (left[:, 1:], left[:, :-1])):
        assert abs(correlation(*neighbours)) < 5 / left.numel() ** 0.5


def test_every_call_and_every_key_draws_anew_and_always_the_same():
    first, second, third = dropped(7, calls=3)
    pairs = [(first, second), (second, third), (first, dropped(8)[0]), (second, dropped(8)[0])]
    assert all(abs(correlation(*pair)) < 5 / first.numel() ** 0.5 for pair in pairs)
    assert torch.equal(torch.stack(dropped(7, calls=3)), torch.stack([first, second, third]))


def test_vmap_draws_for_each_key_what_it_draws_alone():
    keys = scrambled(torch.arange(4))
    batched = vmap(lambda key: _network(key, ONES[0]))(keys)
    assert torch.equal(batched, torch.stack([_network(key, ONES[0]) for key in keys]))


def _network(key, inputs):
    with KeyedDropout(key):
        return nn.Sequential(nn.Dropout(0.2), nn.Dropout(0.7, inplace=True))(inputs)


def test_nothing_is_drawn_where_nothing_trains_and_all_dropped_at_one():
    with KeyedDropout(torch.tensor(3)):
        assert torch.equal(nn.Dropout(0.5).eval()(ONES), ONES)
        assert torch.equal(nn.Dropout(0.0)(ONES), ONES)
        assert torch.equal(nn.Dropout(1.0)(ONES), torch.zeros_like(ONES))
        assert nn.Dropout(0.5)(ONES.to(torch.bfloat16)).dtype == torch.bfloat16
