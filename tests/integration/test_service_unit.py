"""deploy/systemd: systemd understands the unit, and a controller under what it asks for runs code."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from lib.controller import BIN, PYTHON, ROOT

UNIT = ROOT / "deploy/systemd/caesarion.service"
EXPOSURE = 35  # tenths
ORDINARY_UID = 61185

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here (package systemd)")


@needs_systemd
def test_systemd_understands_the_unit(tmp_path):
    text = UNIT.read_text().replace("ExecStart=/usr/bin/caesarion", "ExecStart=%s" % (BIN / "caesarion"))
    (tmp_path / UNIT.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / UNIT.name], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (0, ""), done


@needs_systemd
def test_its_exposure_is_low():
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=%d" % EXPOSURE, UNIT],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_what_bubblewrap_cannot_live_with_is_not_set():
    """Each of these keeps every sandbox from being made, and only a host with systemd would tell."""
    names = {line.split("=")[0] for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")}
    for name in (
        "ProtectKernelTunables",
        "ProtectKernelLogs",
        "ProcSubset",
        "ProtectProc",
        "ProtectHostname",
        "ProtectControlGroups",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
        "MemoryDenyWriteExecute",
        "DynamicUser",
    ):
        assert name not in names, name


@needs_systemd
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting and becoming another user need root")
def test_a_controller_under_the_units_restrictions_runs_code():
    script = pathlib.Path(__file__).with_name("lib") / "as_service.py"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, str(script), PYTHON, str(UNIT)],
        env=dict(os.environ, ORDINARY_UID=str(ORDINARY_UID)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "as a service: ok" in done.stdout
