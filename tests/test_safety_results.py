"""Hostile checkpoints, and hostile strings in rows on their way into tables, plots and terminals."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from baselines.pifu.checkpoint import load_weights
from baselines.pifu.config import MINI
from baselines.pifu.train_state import load_state_file
from robench.analysis import degradation_table, read_rows
from robench.errors import ExitCode, Mismatch, RobenchError, UsageError
from robench.reporting.examples import find_examples
from robench.reporting.plots import bar_plot, save
from robench.reporting.tables import print_table, to_csv, to_latex, to_markdown

NAME = "\x1b[2Jx\r\n|y| [red]z[/red] $\\frac{$ =1+1 <script>alert(1)</script> \\input{evil} \u202egnp"


class Evil:
    """A pickle that makes a folder when it is read."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("reader", [load_weights, load_state_file])
def test_no_checkpoint_runs_code(tmp_path, reader, protocol):
    for content in (Evil(tmp_path / "witness"), {"net": Evil(tmp_path / "witness")}):
        (tmp_path / "net_G").write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(UsageError) as refused:
            reader(tmp_path / "net_G")
        assert refused.value.exit_code == ExitCode.USAGE
    assert not (tmp_path / "witness").exists()
    pickle.loads((tmp_path / "net_G").read_bytes())
    assert (tmp_path / "witness").exists(), "the payload would have run"


def test_a_torch_archive_runs_no_code_and_unpacks_nothing(tmp_path):
    torch.save({"a": Evil(tmp_path / "witness")}, tmp_path / "net_G")
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        load_weights(tmp_path / "net_G")
    assert not (tmp_path / "witness").exists()
    torch.save({"a": torch.zeros(4)}, tmp_path / "whole")
    packed = zipfile.ZipFile(tmp_path / "net_G", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "whole") as old, packed:
        for name in old.namelist():
            packed.writestr(name, bytes(1 << 26) if name.endswith("data/0") else old.read(name))
    assert (tmp_path / "net_G").stat().st_size < 1 << 20
    with pytest.raises(UsageError, match="compressed members"):
        load_weights(tmp_path / "net_G")


def test_a_tensor_of_terabytes_in_a_small_file_is_misshapen(tmp_path):
    torch.save({"image_filter.conv1.weight": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "net_G")
    assert (tmp_path / "net_G").stat().st_size < 10_000
    with pytest.raises(UsageError, match="does not fit the network"):
        load_weights(tmp_path / "net_G")


def tensors(header, length=None):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


OWN = {"format": "robench-pifu/1"}


@pytest.mark.parametrize(
    "content",
    [
        tensors({}, 2**62),
        tensors({}, 99_000_000),
        tensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        tensors({"__metadata__": OWN}),
        tensors({"__metadata__": OWN | {"config": "["}}),
        tensors({"__metadata__": OWN | {"config": "[" * 99_999}}),
        tensors({"__metadata__": OWN | {"config": MINI.to_json(), "provenance": "{"}}),
        tensors({"__metadata__": OWN | {"config": '{"width": 1000000000}'}}),
        tensors({"__metadata__": OWN | {"config": '{"num_stack": 100000000}'}}),
        tensors({"__metadata__": OWN | {"config": '{"hourglass_depth": 1000000000}'}}),
        tensors({"__metadata__": OWN | {"config": '{"mlp": [1000000000, 1000000000, 1]}'}}),
        tensors({"__metadata__": OWN | {"config": '{"width": 1024, "num_stack": 16, "hourglass_dim": 4096}'}}),
    ],
)
def test_a_hostile_safetensors_file_is_a_users_mistake(tmp_path, content):
    import resource

    (tmp_path / "x.safetensors").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError):
        load_weights(tmp_path / "x.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


ROW = {
    **dict.fromkeys(("run_id", "sample_id", "subject_id", "view_id", "corruption", "masker"), "a"),
    **{"severity": 1, "metric": "chamfer_cm", "value": 1.0, "unit": "cm", "direction": "lower", "status": "ok"},
    "failure_value": None,
}


def run_of(folder, *lines):
    (folder / "rows").mkdir(parents=True)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "rows" / "part-0000.wip.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "1",
        '"x"',
        "[1]",
        "[" * 99_999,
        {"a": 1},
        {**ROW, "severity": "x"},
        {**ROW, "severity": None},
        {**ROW, "severity": 10**30},
        {**ROW, "value": "=1"},
        {**ROW, "value": [1]},
        {**ROW, "value": {"a": 1}},
    ],
)
def test_hostile_rows_are_a_mismatch(tmp_path, line):
    with pytest.raises(Mismatch, match="damaged"):
        read_rows(run_of(tmp_path, ROW, line))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(64) + b"PAR1", b"x" * 99])
def test_hostile_parquet_is_a_mismatch(tmp_path, content):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "part-0000.parquet").write_bytes(content)
    with pytest.raises(Mismatch, match="damaged"):
        read_rows(tmp_path)


@pytest.mark.parametrize("record", [1, [], {}, {"image": "x", "camera": "y"}, {"severity": 1, "camera": {"kind": 1}}])
def test_a_hostile_record_of_an_example_is_a_users_mistake(tmp_path, record):
    path = tmp_path / "examples" / "a" / "1" / "s.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    with pytest.raises(RobenchError, match="not a record"):
        find_examples(tmp_path)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = [
        {**ROW, "model": NAME, "sample_id": f"s{k}", "subject_id": f"s{k}", "corruption": name, "severity": severity}
        for k in range(4)
        for name, severity in (("clean", 0), (NAME, 1))
    ]
    rows = [row | {"run_id": NAME, "masker": NAME} for row in rows]
    return degradation_table(read_rows(run_of(tmp_path_factory.mktemp("run"), rows)), ["chamfer_cm"], resamples=100)


def test_a_csv_has_a_line_a_row_and_no_formula(table):
    text = to_csv(table)
    assert len(text.splitlines()) == len(table) + 1
    assert text.replace("\n", "").isprintable()
    for value in pd.read_csv(io.StringIO(text), dtype=str).stack().dropna():
        assert not value.startswith(("=", "+", "@")), value
    assert set(pd.read_csv(io.StringIO(text))["value"]) == {1}
    formula = table.assign(corruption="=cmd|' /C calc'!A0", delta=-1.5)
    read = pd.read_csv(io.StringIO(to_csv(formula)))
    assert set(read["corruption"]) == {"'=cmd|' /C calc'!A0"}
    assert set(read["delta"]) == {-1.5}


def test_markdown_has_a_line_a_row_and_no_markup(table):
    text = to_markdown(table)
    assert text.replace("\n", "").isprintable()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<script>" not in text
    assert "\\<script\\>" in text


def test_latex_runs_nothing(table):
    text = to_latex(table)
    assert text.replace("\n", "").isprintable()
    assert "\\input" not in text
    assert "\\frac" not in text


def test_a_terminal_is_not_given_orders(table):
    shown = io.StringIO()
    print_table(table, Console(file=shown, width=400, force_terminal=False))
    assert shown.getvalue().replace("\n", "").isprintable()
    assert "[red]z[/red]" in shown.getvalue(), "no markup either"


def test_a_plot_draws_a_formula_as_its_letters(table, tmp_path):
    (file,) = save(bar_plot(table, "chamfer_cm"), tmp_path / "bars", ["svg"])
    assert file.stat().st_size > 1000
    assert b"<script" not in file.read_bytes()


def test_the_command_reports_hostile_names_without_obeying_them(tmp_path):
    run = run_of(tmp_path / "run\x1b[31m", {**ROW, "severity": "x\x1b[2J"})
    done = subprocess.run(
        [sys.executable, "-m", "robench", "report", str(run), "--no-plots"], capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.MISMATCH
    assert "\x1b" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "\\x1b[31m" in done.stderr
