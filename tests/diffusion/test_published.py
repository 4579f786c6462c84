"""Published scheduler configs: read, written, and their recorded runs replayed.

tests/golden/schedulers holds eight numbers of each of the 30 runs of ../shared/golden/stable_diffusion/schedulers (the
samplers act on each number alone); with ../shared the whole arrays are replayed too. The first step of PNDM asks the
network twice, which its recordings hold as two steps: the second answer is kept apart.
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3d.diffusion import denoiser, published, sampler
from jax3d.diffusion.published import from_scheduler_config, to_scheduler_config
from jax3d.diffusion.sampler import Move
from jax3d.diffusion.schedule import cosine, levels, linear, scaled_linear, zero_terminal_snr

STORED = Path(__file__).resolve().parents[1] / "golden/schedulers"
RUNS = json.loads((STORED / "runs.json").read_text())
STABLE_DIFFUSION = {
    **{"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    **{"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "epsilon"},
}


def tolerance(name, size):
    """max|d| / max|ref|. The published DDIM loses digits where it derives noise from x0 at low noise."""
    if name == "ddim_sample":
        return 1.4e-5 if size > 8 else 2e-5  # the largest of eight numbers is smaller than the largest of 120
    return 2e-6


def read(name):
    config = dict(RUNS[name])
    eta = config.pop("eta", None)
    run = from_scheduler_config(config)
    return run if eta is None else dataclasses.replace(run, sampler=sampler.ddim(eta))


def stored(name):
    with np.load(STORED / "runs.npz") as z:
        run = {key: z[key][list(RUNS).index(name)] for key in z.files if key != "second_output"}
        run["second_output"] = z["second_output"]
    return {key: value[..., None, :] if value.shape[-1:] == (8,) else value for key, value in run.items()}


def full(name, shared):
    with np.load(shared / f"golden/stable_diffusion/schedulers/{name}.npz") as z:
        run = {key: z[key] for key in ("timesteps", "init_noise_sigma", "x_init", "model_outputs", "prev_samples")}
        index = z["noise_index"].reshape(-1, 1, 1, 1, 1)
        run["noises"] = (
            np.where(index >= 0, z["noises"][index.ravel()], 0) if "noises" in z else 0 * run["prev_samples"]
        )
    run["second_output"] = run["model_outputs"][1]
    if name == "pndm_epsilon":
        keep = [0, *range(2, 11)]
        run |= {key: run[key][keep] for key in ("timesteps", "model_outputs", "noises")}
        run["prev_samples"] = run["prev_samples"][1:]
    return run


def replay(name, run):
    """Every step from the recorded state before it, with the recorded network output; in float32."""
    made = read(name)
    sigmas = made.sigmas(10)
    following = sigmas[1:]
    if name == "ddim_epsilon_linspace":  # published DDIM always steps by 1000 // steps in time, whatever its grid
        following = np.append(levels(made.schedule, run["timesteps"][:-1] - 100), 0.0)
    unit = not RUNS[name]["_class_name"].startswith("Euler")

    @jax.jit
    def step(sample, state, output, sigma, following, noise):
        x = sample * jnp.sqrt(1 + sigma**2) if unit else sample
        seen, answers = [], [output, jnp.asarray(run["second_output"])]
        denoise = made.denoiser(lambda z, t: seen.append(t) or answers[len(seen) - 1])
        x, state = made.sampler.step(denoise, x, state, Move(sigma, following, noise, 10))
        return (denoiser.scale_in(x, following) if unit else x), state, seen[0]

    state = made.sampler.init(jnp.asarray(run["x_init"]))
    samples = [run["x_init"], *run["prev_samples"]]
    for i in range(10):
        got, state, t = step(
            samples[i],
            state,
            run["model_outputs"][i],
            np.float32(sigmas[i]),
            np.float32(following[i]),
            run["noises"][i],
        )
        # DPM-Solver++ rounds the times of Karras' levels, which costs it up to half a time
        assert abs(t[0] - run["timesteps"][i]) <= (0.5 if name == "dpmpp_epsilon_karras" else 2e-3)
        error = np.max(np.abs(got - samples[i + 1])) / np.max(np.abs(samples[i + 1]))
        assert error < tolerance(name, got.size), (i, error)


@pytest.mark.parametrize("name", RUNS)
def test_stored_runs(name):
    replay(name, stored(name))


@pytest.mark.parametrize("name", RUNS)
def test_full_runs(name, shared):
    replay(name, full(name, shared))


def test_all_runs_are_accounted_for(shared):
    index = json.loads((shared / "golden/stable_diffusion/schedulers/index.json").read_text())
    assert set(index) == set(RUNS) and len(index) == 30


@pytest.mark.parametrize("name", ["ddim_v_prediction", "ddpm_epsilon", "euler_epsilon", "dpmpp_epsilon"])
def test_a_whole_run(name):
    """`Published.sample` from standard normal latents to what the decoder gets, under one scan."""
    run, made = stored(name), read(name)
    times, outputs = jnp.asarray(run["timesteps"]), jnp.asarray(run["model_outputs"])
    network = lambda z, t: outputs[jnp.argmin(jnp.abs(times - t[0]))]  # noqa: E731
    latents = jnp.asarray(run["x_init"] / run["init_noise_sigma"])
    got = made.sample(made.denoiser(network), latents, 10, noise=jnp.asarray(run["noises"]))
    want = run["prev_samples"][-1]
    assert np.max(np.abs(got - want)) / np.max(np.abs(want)) < 4e-6  # ten steps of float32


def test_grids_of_other_lengths(shared):
    with np.load(shared / "golden/stable_diffusion/schedulers/_timesteps_tables.npz") as tables:
        checked = 0
        for entry in tables.files:
            name, steps = entry.split("__")
            if "karras" in name:
                continue
            made, times = read(name), tables[entry].astype(np.float64)
            want = levels(made.schedule, np.unique(times)[::-1])
            np.testing.assert_allclose(made.sigmas(int(steps))[:-1], want, rtol=1e-6)
            checked += 1
    assert checked > 100


def test_stable_diffusion():
    made = from_scheduler_config(STABLE_DIFFUSION)
    assert made.border is denoiser.from_eps and not made.sampler.stochastic
    np.testing.assert_allclose(made.schedule.sigmas, scaled_linear().sigmas)
    assert made.sigmas(50)[-1] == made.schedule.sigmas[0] and len(made.sigmas(50)) == 51
    pndm = from_scheduler_config({**STABLE_DIFFUSION, "_class_name": "PNDMScheduler", "skip_prk_steps": True})
    np.testing.assert_array_equal(pndm.sigmas(50), made.sigmas(50))


@pytest.mark.parametrize("border", published.BORDERS.values())
@pytest.mark.parametrize(
    "schedule", [linear(), scaled_linear(), cosine(), zero_terminal_snr(scaled_linear()), scaled_linear(count=50)]
)
def test_written_configs_read_back(schedule, border):
    config = json.loads(json.dumps(to_scheduler_config(schedule, border)))
    again = from_scheduler_config(config)
    assert again.border is border
    np.testing.assert_allclose(again.schedule.sigmas, schedule.sigmas, rtol=1e-6)


def test_laws_are_written_by_name():
    config = to_scheduler_config(scaled_linear(), denoiser.from_v)
    want = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "v_prediction",
    }
    assert config.items() >= want.items() and "trained_betas" not in config
    assert to_scheduler_config(cosine(), denoiser.from_eps)["beta_schedule"] == "squaredcos_cap_v2"
    with pytest.raises(ValueError, match="knows from_eps, from_v and from_x0"):
        to_scheduler_config(linear(), denoiser.edm)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"_class_name": "UniPCMultistepScheduler"}, "_class_name must be one of DDPMScheduler, .*'UniPC"),
        ({"_class_name": None}, "_class_name must be one of"),
        ({"prediction_type": "flow"}, "prediction_type must be one of epsilon, v_prediction, sample, got 'flow'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be one of linear, scaled_linear, squaredcos_cap_v2"),
        ({"timestep_spacing": "log"}, "timestep_spacing must be one of leading, trailing, linspace"),
        ({"thresholding": True}, "option thresholding is not supported; set it to false"),
        ({"beta_start": 0.02, "beta_end": 0.085}, "faulty zero123 conversion"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 4}, "solver_order must be one of 2, 3, got 4"),
    ],
)
def test_what_is_not_supported_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        from_scheduler_config({**STABLE_DIFFUSION, **change})
