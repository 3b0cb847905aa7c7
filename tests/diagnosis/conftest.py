"""The benchmark of the doctor, whose counting the tests share."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "doctor.py"


@pytest.fixture(scope="session")
def benchmark():
    """benchmarks/doctor.py as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_doctor", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
