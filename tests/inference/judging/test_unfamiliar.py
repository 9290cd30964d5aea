import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcap.errors import InputError
from imgcap.inference.judging.unfamiliar import FILE, MOST_WARNED, fit_bounds, load_bounds, save_bounds

CHANNELS = 40


def familiar(rng, count):
    """Features that vary widely in five directions and little in the others."""
    basis = np.random.default_rng(99).normal(size=(5, CHANNELS))
    return (3 + rng.normal(size=(count, 5)) @ basis * 2 + rng.normal(size=(count, CHANNELS)) * 0.1).astype(np.float32)


def test_few_familiar_images_are_warned_of_and_others_are():
    rng = np.random.default_rng(0)
    bounds = fit_bounds(familiar(rng, 400), familiar(rng, 1000), components=5)
    assert bounds.are_unfamiliar(familiar(rng, 1000)).mean() == pytest.approx(MOST_WARNED, abs=0.015)
    # As near to the mean as any, but not along the directions in which familiar images vary.
    strange = bounds.mean + rng.normal(size=(100, CHANNELS)).astype(np.float32)
    assert bounds.are_unfamiliar(strange).all()
    assert bounds.are_unfamiliar(bounds.mean + 40 * (familiar(rng, 100) - bounds.mean)).mean() > 0.9


def test_the_distance_is_mahalanobis_under_the_model():
    rng = np.random.default_rng(1)
    # Half precision of the components shows where variances differ by orders of magnitude: here they do not.
    scale = np.linspace(0.5, 2, CHANNELS)
    bounds = fit_bounds(*(rng.normal(size=(2, 300, CHANNELS)) * scale).astype(np.float32), components=8)
    basis = bounds.components.astype(np.float64)
    covariance = basis.T @ np.diag(bounds.variances) @ basis + bounds.rest * (np.eye(CHANNELS) - basis.T @ basis)
    features = rng.normal(size=(50, CHANNELS)) * scale
    centred = features - bounds.mean
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred))
    assert bounds.distances(features.astype(np.float32)) == pytest.approx(expected, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(1, 50), st.integers(0, 99))
def test_what_is_read_judges_as_what_was_written(tmp_path_factory, images, components, seed):
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(seed)
    bounds = fit_bounds(familiar(rng, images), familiar(rng, images), components)
    save_bounds(folder, bounds)
    again = load_bounds(folder)
    features = familiar(rng, 20) * 1.2
    assert np.isfinite(bounds.distances(features)).all()
    assert (again.distances(features) == bounds.distances(features)).all()
    assert again.threshold == bounds.threshold


def test_a_captioner_without_bounds_has_none(tmp_path):
    assert load_bounds(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="is damaged or from another version; fit it again"):
        load_bounds(tmp_path)
