"""Airflow's DAGs of the lake: one for each pipeline of pipelines.yaml, each step a task that runs `dataforge`.

Needs the package `dataforge` (libs/common) on PYTHONPATH; of it only the definition is read. Settings, in Airflow's
configuration (as environment: AIRFLOW__DATAFORGE__COMMAND and so on):

| section `dataforge` | default | |
|---|---|---|
| `command` | `dataforge` | what is run with a step's arguments; elsewhere: `docker exec lake dataforge` |
| `pipelines` | `pipelines.yaml` beside this file's folder | the definition |
"""

import logging
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from dataforge.pipelines import BACKOFF_MOST_S, Pipeline, Step, read_pipelines

log = logging.getLogger(__name__)

COMMAND = tuple(shlex.split(conf.get("dataforge", "command", fallback="dataforge")))
DEFINITION = Path(conf.get("dataforge", "pipelines", fallback=str(Path(__file__).parents[1] / "pipelines.yaml")))
SETTLED = "alert-settled"
"""The task after all others. No step can have its name."""
_ALERT_S = 60


def dag(pipeline: Pipeline) -> DAG:
    """The same order, retries and limits as `dataforge lake nightly` has."""
    with DAG(
        dag_id=f"dataforge_{pipeline.name}",
        description=pipeline.why,
        schedule=pipeline.schedule,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,  # a run does all that is due, however many were missed
        max_active_runs=1,
        tags=["dataforge"],
    ) as made:
        tasks = {step.name: task(pipeline, step) for step in pipeline.steps}
        for step in pipeline.steps:
            for need in step.needs:
                tasks[step.name].set_upstream(tasks[need])
        settled = BashOperator(
            task_id=SETTLED,
            bash_command=shell("lake", "alert", pipeline.name, "--settled"),
            retries=2,
            doc_md="All went well: the pipeline's alert, if one stands, is cleared.",
        )
        for leaf in {step.name for step in pipeline.steps} - {need for step in pipeline.steps for need in step.needs}:
            settled.set_upstream(tasks[leaf])
    return made


def task(pipeline: Pipeline, step: Step) -> BashOperator:
    return BashOperator(
        task_id=step.name,
        bash_command=shell(*step.run),
        retries=step.retries,
        retry_delay=timedelta(seconds=step.backoff_s),
        retry_exponential_backoff=2.0,
        max_retry_delay=timedelta(seconds=BACKOFF_MOST_S),
        execution_timeout=timedelta(seconds=step.timeout_s),
        on_failure_callback=lambda context: alert(pipeline.name, context),
        doc_md=step.why,
    )


def shell(*arguments: str) -> str:
    """The blank at the end keeps Airflow from taking a command that ends in `.sh` for a file's name."""
    return shlex.join([*COMMAND, *arguments]) + " "


def alert(pipeline: str, context: Any) -> None:
    """A task failed in its last attempt. Where this fails too, the log of the task has both."""
    instance, error = context["ti"], context.get("exception")
    said = ["--attempts", str(instance.try_number), "--log", instance.log_url, "--said", f"{error}"[-1000:]]
    command = [*COMMAND, "lake", "alert", pipeline, "--failed", instance.task_id, *said]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_ALERT_S, check=False)
    if ended.returncode:
        log.error("the alert was not raised: %s", ended.stderr)


for _pipeline in read_pipelines(DEFINITION).values():
    globals()[f"dataforge_{_pipeline.name}"] = dag(_pipeline)
