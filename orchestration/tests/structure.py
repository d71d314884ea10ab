"""Prints the DAGs that Airflow makes of a folder, as JSON: `python structure.py FOLDER`, by Airflow's interpreter."""

import json
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag


def task(made: Any) -> dict[str, Any]:
    return {
        "needs": sorted(made.upstream_task_ids),
        "command": made.bash_command.strip(),
        "retries": made.retries,
        "backoff_s": made.retry_delay.total_seconds(),
        "growth": made.retry_exponential_backoff,
        "timeout_s": made.execution_timeout.total_seconds() if made.execution_timeout else None,
        "alerts": len(made.on_failure_callback or ()),
    }


def dag(made: Any) -> dict[str, Any]:
    return {
        "schedule": made.schedule,
        "catchup": made.catchup,
        "at_once": made.max_active_runs,
        "tasks": {one.task_id: task(one) for one in made.tasks},
    }


if __name__ == "__main__":
    bag = DagBag(sys.argv[1])
    found = {name: dag(made) for name, made in bag.dags.items()}
    sys.stdout.write(json.dumps({"errors": bag.import_errors, "dags": found}) + "\n")
