"""The report: one HTML file that needs nothing besides itself, or its tables for a paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps

from affectstack import __version__
from pipeline.audit import read_audit
from pipeline.degraded import Degraded
from pipeline.duplicates import Duplicates
from pipeline.evaluation import Run
from pipeline.report import contents, figures, page
from pipeline.report.browser import clips, media_links
from pipeline.report.leaks import lights, remarks
from pipeline.report.provenance import identities, provenance
from pipeline.report.tables import Form, write
from pipeline.report.values import ValueFindings
from pipeline.scoring import chance
from pipeline.subsets import Subset
from pipeline.workspace import Workspace

__all__ = ["Findings", "ValueFindings"]


@dataclass(frozen=True)
class Findings:
    """What a report is about.

    Attributes:
        run: What was fused and scored.
        subsets: What is left when sources are missing.
        duplicates: Clips that are one recording; None if nobody could look.
        degraded: What heads of several inputs do without one of them.
    """

    run: Run
    subsets: Sequence[Subset]
    duplicates: Duplicates | None
    degraded: Sequence[Degraded] = ()

    def render(self, workspace: Workspace, folder: Path, now: Mapping[str, Any]) -> str:
        """Return the report as HTML.

        Args:
            workspace: The experiment.
            folder: Where the report will lie; media are linked relative to it.
            now: The entry of the running command, see `history.Stopwatch`.
        """
        run, subsets = self.run, self.subsets
        systems = contents.systems(run)
        tables = {
            "folds": contents.fold_table(run),
            "certainty": contents.certainty_table(run),
            "differences": contents.pair_table(run),
            "weights": contents.weight_table(run, subsets),
            "missing": contents.subset_table(run, subsets),
            **({"degraded": contents.degraded_table(self.degraded)} if self.degraded else {}),
            "in-sample": contents.split_table(run),
            "recall": contents.recall_table(run),
            "tested": contents.subject_table(run),
            "audit": contents.audit_table(read_audit(workspace)),
        }
        panels = {
            "leaks": "Leaks",
            "headline": "Headline",
            "sources": "Sources against fusion",
            "calibration": "Calibration",
            **{name: table.title.partition(",")[0] for name, table in tables.items()},
            "subjects": "Test subjects' accuracy",
            "confusion": "Confusion",
            "errors": "Error browser",
            "provenance": "Provenance",
        }
        media = media_links(workspace.labelled(), workspace.root, folder)
        return page.render(
            "report.html",
            run=run,
            experiment=workspace.file.name,
            version=__version__,
            made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            clips=int(run.fusion.confusion.sum()),
            chance=chance(run.fusion.confusion),
            protocol=contents.protocol(run),
            lights=[*lights(run, self.duplicates), *remarks(run)],
            best=max(run.sources, key=lambda name: run.sources[name].accuracy_mean),
            panels=list(panels.items()),
            tables=list(tables.items()),
            rates={
                name: s.confusion / np.maximum(s.confusion.sum(axis=1, keepdims=True), 1)
                for name, s in systems.items()
            },
            accuracies=figures.accuracies(run),
            calibration=figures.calibration(run),
            subjects=figures.subjects(run),
            provenance=provenance(workspace, run, now),
            identities=identities(workspace, run),
            data=htmlsafe_json_dumps(clips(run, media), separators=(",", ":")),
        )

    def render_tables(self, workspace: Workspace, form: Form) -> str:
        """Return what the report says as tables for a paper."""
        run, audit = self.run, read_audit(workspace)
        note = f"{workspace.file.name}: {contents.protocol(run)}"
        tables = contents.tables(run, self.subsets, audit, self.duplicates, self.degraded)
        return write(tables, form, note)
