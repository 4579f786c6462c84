import math

import jax.numpy as jnp

from jax3d.train import log


def test_lines_come_back_and_the_future_is_forgotten(tmp_path):
    for step in range(1, 6):
        log.append(tmp_path, step, {"loss": 1.0 / step, "bad": math.nan})
    log.truncate(tmp_path, 3)
    lines = log.read(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[1]["loss"] == 0.5 and math.isnan(lines[1]["bad"])


def test_a_torn_line_is_dropped(tmp_path):
    log.append(tmp_path, 1, {"loss": 1.0})
    with open(tmp_path / log.NAME, "a") as file:
        file.write('{"step": 2, "lo')
    log.truncate(tmp_path, 7)
    log.append(tmp_path, 2, {"loss": 2.0})
    assert [line["step"] for line in log.read(tmp_path)] == [1, 2]


def test_short_names_trouble_only_where_there_is_some():
    assert log.short({"loss": 0.12345, "skipped": 0.0, "stuck": 0.0}) == "loss=0.123"
    assert log.short({"loss": 0.12345, "skipped": 2.0}) == "loss=0.123, skipped=2"
    assert log.short({"demand": 0.5, "demand_spans": 0.9, "demand_surface": 1.3}) == "demand=0.5, demand_surface=1.3"


def test_scalars_are_plain_numbers():
    assert log.scalars({"a": jnp.int32(3), "b": jnp.bfloat16(0.5)}) == {"a": 3.0, "b": 0.5}
