import pandas as pd
from lab import Lab

from pipeline.evaluation import Run, evaluate
from pipeline.experiment import load
from pipeline.report import figures
from pipeline.report.page import INK


def run_of(lab: Lab, **subjects: str) -> Run:
    """A run in which some subjects have other names."""
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    manifest["subject"] = manifest["subject"].replace(subjects)
    manifest.to_csv(lab.folder / "manifest.csv", index=False)
    assert lab.run("extract") == 0
    assert lab.run("train_heads") == 0
    return evaluate(load(lab.folder / "experiment.yaml"))


def test_figures_have_the_colours_of_the_page_and_do_not_depend_on_the_time(lab: Lab) -> None:
    run = run_of(lab)
    for draw in (figures.accuracies, figures.calibration, figures.subjects):
        drawn = draw(run)
        assert drawn == draw(run)
        assert INK not in drawn
        assert "var(--ink)" in drawn
        assert 'role="img" aria-label="' in drawn


def test_names_stay_text(lab: Lab) -> None:
    drawn = figures.subjects(run_of(lab, s0="a$b$", s1="<b>&", s2=r"$\frac{1}{0}$"))
    assert "a$b$" in drawn
    assert "&lt;b&gt;&amp;" in drawn
    assert r"$\frac{1}{0}$" in drawn
