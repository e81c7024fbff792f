"""The console's own resampler, run by Node: what passes, what does not, and that nothing folds."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.peer

SCRIPT = Path(__file__).parent / "browser" / "sound.mjs"
LIMIT_S = 60
LINE_HZ = 8000
DEVICES_HZ = [16_000, 44_100, 48_000, 96_000]


@pytest.fixture(name="resampler", scope="module")
def _resampler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's file, where Node takes it for a module whatever its version."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    path = tmp_path_factory.mktemp("page") / "resample.mjs"
    page = files("avr_bridge.server.console") / "page"
    path.write_bytes((page / "resample.js").read_bytes())
    return path


def measured(resampler: Path, *asked: tuple[int, int, int]) -> list[dict[str, Any]]:
    """For each (from, to, tone), all in Hz."""
    done = subprocess.run(
        ["node", str(SCRIPT), str(resampler), json.dumps(asked)],
        capture_output=True,
        check=True,
        timeout=LIMIT_S,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("device_hz", DEVICES_HZ)
def test_the_telephones_band_passes(resampler: Path, device_hz: int) -> None:
    """300 to 3400 Hz, both ways, within 0.1 dB, with nothing beside it; no sample is lost."""
    for rates in ((device_hz, LINE_HZ), (LINE_HZ, device_hz)):
        for one in measured(resampler, *((*rates, tone_hz) for tone_hz in (300, 1000, 3400))):
            assert abs(one["gain_db"]) < 0.1
            assert one["rest_db"] < -70
            # The filter holds back 4 ms.
            assert 0 <= rates[1] - one["samples"] <= 0.0041 * rates[1] + 1


@pytest.mark.parametrize("device_hz", DEVICES_HZ)
def test_what_the_line_cannot_carry_is_gone(resampler: Path, device_hz: int) -> None:
    """Above 4 kHz: every sixth sample, taken as it is, would bring it back as another tone."""
    tones_hz = [hz for hz in (4100, 5000, 7000, 7900, 15_000, 20_000) if hz < device_hz / 2]
    for one in measured(resampler, *((device_hz, LINE_HZ, tone_hz) for tone_hz in tones_hz)):
        assert one["gain_db"] < -70
