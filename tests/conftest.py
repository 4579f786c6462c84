"""Shared fixtures. Eight CPU devices are forced so that the data-parallel path runs everywhere.

Each of pytest-xdist's workers keeps to cores of its own: the threads of two XLAs would wait for each other.
"""

import os
from importlib.metadata import version
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    number, workers = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    own = sorted(os.sched_getaffinity(0))[number::workers]
    os.sched_setaffinity(0, own or os.sched_getaffinity(0))

# Compiling is what tests wait for: the last two flags leave out a fifth of it. XLA stops at a flag it does not know.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""),
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

pytest_plugins = ["tests.priors"]

SHARED = Path(__file__).resolve().parents[2] / "shared"

jax.config.update("jax_compilation_cache_dir", str(Path(__file__).resolve().parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference arrays and real data beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    return SHARED


@pytest.fixture(scope="module", autouse=True)
def _forget():
    """What a file has compiled goes with it: the workers grew to 6 GB each."""
    yield
    jax.clear_caches()
