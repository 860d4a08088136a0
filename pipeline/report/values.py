"""The report of an experiment on attributes: one HTML file, or its tables for a paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affectstack import __version__
from pipeline.audit import read_audit
from pipeline.duplicates import Duplicates
from pipeline.report import page, value_contents, value_figures
from pipeline.report.browser import media_links
from pipeline.report.leaks import lights, remarks
from pipeline.report.provenance import identities, provenance
from pipeline.report.tables import Form, write
from pipeline.value_evaluation import ValueRun
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class ValueFindings:
    """What a report on attributes is about.

    Attributes:
        run: What was fused and scored.
        duplicates: Clips that are one recording; None if nobody could look.
    """

    run: ValueRun
    duplicates: Duplicates | None

    def render(self, workspace: Workspace, folder: Path, now: Mapping[str, Any]) -> str:
        """Return the report as HTML.

        Args:
            workspace: The experiment.
            folder: Where the report will lie; media are linked relative to it.
            now: The entry of the running command, see `history.Stopwatch`.
        """
        run = self.run
        tables = value_contents.tables(run, read_audit(workspace))
        panels = {
            "leaks": "Leaks",
            "headline": "Headline",
            "sources": "Sources against fusion",
            "scatter": "Said against true",
            **{name: table.title.partition(",")[0] for name, table in tables.items()},
            "subjects": "Subjects",
            "provenance": "Provenance",
        }
        return page.render(
            "values.html",
            run=run,
            experiment=workspace.file.name,
            version=__version__,
            made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            lights=[*lights(run, self.duplicates), *remarks(run)],
            panels=list(panels.items()),
            figures=[
                (name, value_contents.plain(e.value), *map(value_contents.plain, e.interval))
                for name, e in run.fusion.ccc.items()
            ],
            headline=value_contents.headline(run),
            protocol=value_contents.protocol(run),
            tables=list(tables.items()),
            media=media_links(workspace.labelled(), workspace.root, folder),
            concordances=value_figures.concordances(run),
            scatter=value_figures.scatter(run),
            subjects=value_figures.subjects(run),
            provenance=provenance(workspace, run, now),
            identities=identities(workspace, run),
        )

    def render_tables(self, workspace: Workspace, form: Form) -> str:
        """Return what the report says as tables for a paper."""
        note = (
            f"{workspace.file.name}: {value_contents.headline(self.run)} {value_contents.protocol(self.run)}"
        )
        found = value_contents.paper_tables(self.run, read_audit(workspace), self.duplicates)
        return write(found, form, note)
