"""A network that tells digits apart, for what judges accuracy."""

import pytest

import resnets
from resnets.architecture import ResNetSpec


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    """The folder of its run."""
    spec = ResNetSpec(depths=(1, 1, 1), widths=(8, 16, 32), stem="cifar", block="basic")
    out = tmp_path_factory.mktemp("digits") / "run"
    resnets.train("digits", model=spec, epochs=4, out=out)
    return str(out)


@pytest.fixture
def classifier(trained):
    return resnets.load(trained)
