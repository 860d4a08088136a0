"""`python -m pipeline.finetune audio`: fine-tune encoders on the training subjects of each fold."""

from enum import StrEnum
from typing import Annotated

import typer

from pipeline import posteriors
from pipeline.cli import (
    DEFAULT_EXPERIMENT,
    EXIT_OK,
    EXIT_SOME_FAILED,
    ExperimentOption,
    SetOption,
    relative_to_cwd,
    run,
    say,
    stage,
)
from pipeline.engine.finish import write_failures
from pipeline.experiment import load
from pipeline.finetuning.folds import Finetuning
from pipeline.options import ConfigError
from pipeline.progress import Meter
from pipeline.scoring import score

app = typer.Typer(add_completion=False)
Modality = StrEnum("Modality", {"audio": "audio"})


@app.command()
def finetune(
    modality: Annotated[Modality, typer.Argument(help="Which encoders.")],
    experiment: ExperimentOption = DEFAULT_EXPERIMENT,
    overrides: SetOption = None,
) -> int:
    """Fine-tune encoders per fold; finished folds are not trained again, others go on where they stopped."""
    workspace = load(experiment, overrides or ())
    workspace.refuse_attributes("`finetune`")
    names = [n for n, s in workspace.experiment.finetune.items() if s.modality == modality.value]
    if not names:
        raise ConfigError(
            f"{workspace.file.name} has nothing to fine-tune on {modality.value}; see `finetune:`"
        )
    failed = 0
    for name in names:
        tuning = Finetuning(workspace, name)
        say(f"{name}: {tuning.introduction()}")
        sounds = tuning.sounds()
        if sounds.failures:
            path = workspace.folder / "models" / name / "failures.csv"
            write_failures(path, sounds.failures)
            failed += len(sounds.failures)
            say(f"  {len(sounds.failures)} clips failed, see {relative_to_cwd(path)}")
        tuning.refuse_empty_folds(sounds)
        for fold in tuning.protocol.folds:
            if tuning.is_done(fold, sounds):
                say(f"  fold {fold.index}: is there")
                continue
            steps = tuning.steps(fold, sounds)
            with Meter(f"  fold {fold.index}", steps, "steps") as meter:
                for step in tuning.run(fold, sounds):
                    meter.add(step - meter.done)
        table = tuning.table(sounds)
        posteriors.write(workspace.folder / "posteriors" / f"{name}.parquet", table)
        scores = score([table.part("test", f.index) for f in tuning.protocol.folds], tuning.protocol)
        marks = " (from RANDOM weights)" if table.about.untrained else ""
        marks += " (selected on test)" if table.about.selected_on_test else ""
        say(f"  {name}: accuracy {scores.accuracy_mean:.1%}, UAR {scores.uar:.1%}{marks}")
        say(f"wrote {relative_to_cwd(workspace.folder / 'models' / name)}, posteriors/{name}.parquet")
    more = "extract all" if workspace.experiment.features else "fuse --report"
    say(f"next: {stage(more, experiment)}")
    return EXIT_SOME_FAILED if failed else EXIT_OK


if __name__ == "__main__":
    run(app)
