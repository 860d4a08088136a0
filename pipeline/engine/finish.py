"""What lies beside the shards when they are all there: the feature's index and its failures."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.engine.plan import Plan
from pipeline.features import FeatureIndex, spec_as_json
from pipeline.files import publish
from pipeline.store import Failure, identity_sha256
from pipeline.workspace import Workspace


def publish_index(plan: Plan, workspace: Workspace) -> FeatureIndex:
    """Write the feature's index and its `failures.csv`; only when every shard is there."""
    records = [plan.finished[i] for i in range(len(plan.tasks))]
    failures = [f for r in records for f in r.failures]
    write_failures(plan.folder / "failures.csv", failures)
    plan.verified.save()
    index = FeatureIndex(
        name=plan.feature,
        spec=spec_as_json(workspace, plan.feature),
        folder=plan.folder.relative_to(workspace.folder).as_posix(),
        shards=[t.path.name for t in plan.tasks],
        identity=plan.identity,
        identity_sha256=identity_sha256(plan.identity),
        seen_subjects=sorted({s for r in records for s in r.seen_subjects}),
        untrained=plan.extractor.untrained,
        clips=sum(len(r.ids) for r in records),
        failed=len(failures),
        selected_on_test=plan.extractor.selected_on_test,
    )
    index.write(workspace)
    return index


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Publish `failures.csv`: one row per clip that failed; only a header if none did."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip_id", "view", "stage", "type", "message"])
    writer.writerows([f.clip_id, f.view, "extract", f.type, f.message] for f in failures)
    publish(path, text.getvalue().encode())
