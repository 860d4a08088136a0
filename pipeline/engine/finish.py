"""What lies beside the shards when they are all there: the feature's index and its failures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipeline.engine.plan import Plan
from pipeline.features import FeatureIndex, spec_as_json
from pipeline.files import as_text, publish
from pipeline.store import Failure, Record, identity_sha256
from pipeline.workspace import Workspace

_TEXT = ("clip_id", "view", "subject", "message")  # of others; the rest is ours


def publish_index(plan: Plan, workspace: Workspace) -> FeatureIndex:
    """Write the feature's index and its `failures.csv`; only when every shard is there."""
    records = plan.records
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
        pictures_sha256="" if plan.source is None else plan.source.sha256,
    )
    index.write(workspace)
    return index


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Publish `failures.csv`: one row per clip that failed; only a header if none did."""
    columns = ["clip_id", "view", "stage", "type", "message"]
    rows = [[f.clip_id, f.view, "extract", f.type, f.message] for f in failures]
    _write(path, pd.DataFrame(rows, columns=columns))


def write_ledgers(plan: Plan, subjects: Mapping[str, str]) -> dict[str, int]:
    """Publish `ledger.csv`, what was counted of every clip, and its sums in `ledger-subjects.csv`.

    Args:
        plan: A feature whose shards are all there; nothing is written if its extractor counts nothing.
        subjects: By clip id.

    Returns:
        The sums over all clips.
    """
    names = list(plan.extractor.counted)
    if not names:
        return {}
    counted = [_counts(record, names) for record in plan.records]
    ledger = pd.concat(counted, ignore_index=True)
    ledger.insert(2, "subject", [subjects[clip_id] for clip_id in ledger["clip_id"]])
    sums = ledger.drop(columns=["clip_id", "view"]).groupby("subject").sum()
    sums.insert(0, "clips", ledger.groupby("subject").size())
    _write(plan.folder / "ledger.csv", ledger)
    _write(plan.folder / "ledger-subjects.csv", sums.reset_index())
    return {name: int(ledger[name].sum()) for name in names}


def _counts(record: Record, names: Sequence[str]) -> pd.DataFrame:
    own = {name: record.tally.get(name, []) for name in names}  # a record without clips counts nothing
    return pd.DataFrame({"clip_id": record.ids, "view": record.views, **own})


def _write(path: Path, table: pd.DataFrame) -> None:
    table = table.assign(**{name: table[name].map(as_text) for name in _TEXT if name in table})
    publish(path, table.to_csv(index=False, lineterminator="\n").encode())
