import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_walks_the_whole_road_and_fusion_beats_every_source(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.demo", "--out", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("report: demo/reports/latest/report.html")
    found = json.loads((tmp_path / "demo/reports/latest/metrics.json").read_text())
    assert len(found["classes"]) == 8
    sources = {name: s["accuracy_mean"] for name, s in found["sources"].items()}
    assert set(sources) == {"voice-svc", "au-mlp80", "clip-logistic"}
    assert found["fusion"]["accuracy_mean"] > max(sources.values()) + 0.1
    assert sources["voice-svc"] > 0.3
    assert sources["au-mlp80"] > 0.3
    assert sources["clip-logistic"] > 1 / 8
    assert [f for f in found["flags"] if f.startswith("untrained: ")]
    page = (tmp_path / "demo/reports/latest/report.html").read_text()
    assert "Synthetic corpus" in page
