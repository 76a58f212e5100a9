"""Late fusion of samples that lack an input or lose it in training: the placeholder has no effect."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from small_fusion import SECOND_LACKS, TINY, TWO_INPUTS, build, pairs
from torch import Tensor

from fibrolab import keys
from fibrolab.models.fusion import FUSIONS, drop_modalities


def statistics(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_batch_with_missing_inputs_is_overfitted(fusion):
    torch.manual_seed(0)
    model, labels = build(TWO_INPUTS, fusion={"name": fusion}), torch.arange(4)
    batch, optimizer = pairs(SECOND_LACKS), torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("training", [False, True])
def test_a_result_does_not_depend_on_pixels_that_a_sample_lacks(fusion, training):
    model = build(TWO_INPUTS, fusion={"name": fusion}).train(training)
    batch, other = pairs(SECOND_LACKS), {}
    other = batch | {"elastogram": batch["elastogram"].clone()}
    other["elastogram"][1] = 255 - other["elastogram"][1]
    assert torch.equal(model(batch), model(other))
    assert not torch.equal(model(batch | {keys.present("elastogram"): ~SECOND_LACKS}), model(batch))


def test_batch_norm_uses_only_the_rows_that_have_the_input():
    masked, plain = build(TWO_INPUTS), build(TWO_INPUTS)
    plain.load_state_dict(masked.state_dict())
    batch = pairs(SECOND_LACKS)
    masked.train()(batch)
    plain.train().branches["stiffness"](batch["elastogram"][SECOND_LACKS])
    seen, expected = (statistics(model.branches["stiffness"]) for model in (masked, plain))
    assert seen
    assert all(torch.equal(seen[name], expected[name]) for name in expected)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_input_that_a_whole_batch_lacks_is_not_run(fusion, monkeypatch):
    model = build(TWO_INPUTS, fusion={"name": fusion})
    monkeypatch.setattr(model.branches["stiffness"], "forward", None)
    batch = pairs(torch.zeros(4, dtype=torch.bool))
    assert not model.features(batch)["stiffness"].any()
    model(batch).sum().backward()
    assert all(weight.grad is None for weight in model.branches["stiffness"].parameters())
    assert all(weight.grad is not None for weight in model.branches["grey"].parameters())


def test_a_mask_that_hides_nothing_changes_nothing():
    model = build(TWO_INPUTS).eval()
    batch = pairs()
    masked = batch | {keys.present("elastogram"): torch.ones(4, dtype=torch.bool)}
    assert torch.equal(model(masked), model(batch))


def test_the_only_sample_with_an_input_can_be_trained_on():
    model = build({"grey": TINY, "stiffness": {"name": "test_efficientnet", "input": "elastogram"}}).train()
    present = torch.tensor([False, False, True, False])
    features = model.features(pairs(present))["stiffness"]
    assert features.shape == (4, model.branches["stiffness"].num_features)
    assert features[present].isfinite().all()
    assert not features[~present].any()


def test_a_sample_without_any_input_is_our_fault():
    nothing = torch.zeros(4, dtype=torch.bool)
    with pytest.raises(AssertionError, match="without any input"):
        build(TWO_INPUTS)(pairs(nothing) | {keys.present("image"): nothing})


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=1, max_size=8),
    probability=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 99),
)
def test_only_present_inputs_are_dropped_and_never_all(rows, probability, seed):
    torch.manual_seed(seed)
    present = torch.tensor(rows)
    left = drop_modalities(present, probability)
    assert not (left & ~present).any()
    assert left.any(dim=1).all()
    if probability == 0:
        assert torch.equal(left, present)


@pytest.mark.parametrize("probability", [0.2, 0.9])
def test_each_input_is_dropped_with_the_given_probability_unless_it_is_the_last(probability):
    torch.manual_seed(0)
    left = drop_modalities(torch.ones(40_000, 3, dtype=torch.bool), probability)
    expected = 1 - probability + probability**3 / 3  # where all three would be dropped, one is kept
    assert left.double().mean(dim=0).tolist() == pytest.approx([expected] * 3, abs=0.012)


def test_inputs_are_dropped_only_in_training():
    model = build(TWO_INPUTS, fusion={"name": "concatenate", "modality_dropout": 0.5})
    width, batch = model.branches["grey"].num_features, pairs(n=32)
    torch.manual_seed(0)
    grey, stiffness = model.train().encode(batch).split(width, dim=1)
    lost = torch.stack([~grey.any(dim=1), ~stiffness.any(dim=1)])
    assert lost.any(dim=1).all()
    assert not lost.all(dim=0).any()
    assert model.features(batch)["grey"].any(dim=1).all()
    grey, stiffness = model.eval().encode(batch).split(width, dim=1)
    assert grey.any(dim=1).all()
    assert stiffness.any(dim=1).all()
