import shutil
from pathlib import Path

import numpy as np
import pytest
from lab import Lab

from pipeline.references import REFERENCES, Figure


@pytest.mark.realdata
def test_the_published_figures_of_mmer_are_ours_too(real_data: Path) -> None:
    found = [f for f in REFERENCES["mmer"](real_data / "mmer", 1) if isinstance(f, Figure)]
    assert [f"{f.name}: {f.ours} {f.reference}" for f in found if not f.passes] == []
    assert {"wav2vec2 mean", "mlp80 mean", "fusion wav2vec2+mlp80 minmax mean"} <= {f.name for f in found}


@pytest.mark.realdata
def test_a_figure_that_differs_fails_the_command(real_data: Path, lab: Lab, tmp_path: Path) -> None:
    copy = tmp_path / "mmer"
    shutil.copytree(real_data / "mmer/avg_MLP80_AUs", copy / "avg_MLP80_AUs")
    shutil.copy(real_data / "mmer/ravdess_videos.csv", copy)
    file = copy / "avg_MLP80_AUs/posteriors/test_fold0.csv"
    lines = file.read_text().splitlines()
    # The first clip that is right gets the posteriors of a clip of another class.
    rows = [line.split(";") for line in lines[1:]]
    right = next(r for r in rows if max(range(8), key=lambda k: float(r[k])) == int(r[8][6:8]) - 1)
    right[:8] = ["0"] * 8
    right[7 if int(right[8][6:8]) != 8 else 0] = "1"
    file.write_text("\n".join([lines[0], *(";".join(r) for r in rows)]) + "\n")
    assert lab.run("verify", "--against", "mmer", "--data", str(copy)) == 1
    out = lab.out.splitlines()
    assert "not checked, since the files are not there: wav2vec2, bilstm" in out[0]
    assert [line.split() for line in out if line.startswith("mlp80 fold 0")] == [
        ["mlp80", "fold", "0", "61.0000", "61.3330", "FAIL"]
    ]
    assert "figures differ from the reference" in lab.err


def test_a_folder_without_the_files_is_refused(lab: Lab, tmp_path: Path) -> None:
    assert lab.run("verify", "--against", "mmer", "--data", str(tmp_path)) == 1
    assert "cannot read ravdess_videos.csv" in lab.err
    (tmp_path / "ravdess_videos.csv").write_text(
        "\n".join(f"01-01-01-01-01-01-{a:02d}" for a in range(1, 25))
    )
    assert lab.run("verify", "--against", "mmer", "--data", str(tmp_path)) == 1
    assert "no published posteriors of MMER in it" in lab.err


@pytest.mark.realdata
def test_the_golden_vectors_come_out(real_data: Path, lab: Lab) -> None:
    assert lab.run("verify", "--against", "golden", "--data", str(real_data)) == 0, lab.err
    for name in ("slowfast_tiny", "x3d_tiny", "mvitv2_tiny", "efficientface"):
        assert f"{name}, as it is" in lab.out
        assert f"{name}, as it runs" in lab.out
    for way in ("lt", "it", "ia"):
        for heads in (1, 4):
            assert f"selfattention_fusion {way}_heads{heads}" in lab.out
    assert "not of a clip network" in lab.out  # of others, said and left out


@pytest.mark.realdata
def test_a_golden_vector_that_differs_fails_the_command(real_data: Path, lab: Lab, tmp_path: Path) -> None:
    copy = tmp_path / "golden/x3d"
    shutil.copytree(real_data / "golden/x3d_tiny", copy, copy_function=shutil.copyfile)
    with np.load(copy / "expected.npz") as file:
        arrays = dict(file)
    arrays["features"][0, 5] += 0.01
    copy.chmod(0o755)
    np.savez(copy / "expected.npz", **arrays)
    assert lab.run("verify", "--against", "golden", "--data", str(tmp_path)) == 1
    assert lab.out.count("FAIL") == 2
    (copy / "config.yaml").write_text("_BASE_: /etc/passwd\n")
    assert lab.run("verify", "--against", "golden", "--data", str(tmp_path)) == 1
    assert "_BASE_ names another file" in lab.out
    assert lab.run("verify", "--against", "golden", "--data", str(tmp_path / "nowhere")) == 1
    assert "no folders in" in lab.err


@pytest.mark.realdata
def test_a_fusion_that_differs_or_does_not_fit_fails(real_data: Path, lab: Lab, tmp_path: Path) -> None:
    copy = tmp_path / "golden/fusions"
    copy.mkdir(parents=True)
    for name in ("it_heads1.pt", "it_heads1.npz"):
        shutil.copyfile(real_data / "golden/selfattention_fusion" / name, copy / name)
    shutil.copyfile(real_data / "golden/selfattention_fusion/lt_heads1.pt", copy / "ia_heads1.pt")
    shutil.copyfile(copy / "it_heads1.npz", copy / "ia_heads1.npz")
    with np.load(copy / "it_heads1.npz") as file:
        arrays = dict(file)
    arrays["logits"][0, 0] += 0.01
    np.savez(copy / "it_heads1.npz", **arrays)
    assert lab.run("verify", "--against", "golden", "--data", str(tmp_path)) == 1
    assert "ia_heads1.pt does not fit" in lab.out
    assert lab.out.count("FAIL") == 2
    (copy / "ia_heads1.npz").write_bytes(b"junk")
    assert lab.run("verify", "--against", "golden", "--data", str(tmp_path)) == 1
    assert "ia_heads1.npz: no arrays visual_features, audio_mfcc, logits in it" in lab.out


def test_a_figure_passes_within_its_tolerance_only() -> None:
    assert Figure("x", 81.8175, 81.817, 0.001).passes
    assert not Figure("x", 81.8185, 81.817, 0.001).passes
