"""`dataforge domain check`: exit codes, and what people and machines are told."""

import json
from pathlib import Path

from typer.testing import CliRunner

from devstack.cli import build

RETAIL = Path(__file__).parents[3] / "domains" / "retail"


def check(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build(["domain"]), ["domain", "check", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_good_domain_shows_what_it_becomes() -> None:
    code, out, _ = check(str(RETAIL))
    assert code == 0
    assert "raw.retail.purchase.v1" in out
    assert "discount_rate" in out
    code, out, _ = check(str(RETAIL), "--json")
    assert (code, json.loads(out)["ok"], json.loads(out)["name"]) == (0, True, "retail")
    assert "quarantine.retail.purchase.v1" in json.loads(out)["topics"]
    assert "top_products" in json.loads(out)["queries"]


def broken(folder: Path) -> Path:
    for name in ("purchase.v1.json", "quality.yaml", "lookups.yaml"):
        (folder / name).write_text((RETAIL / name).read_text())
    (folder / "domain.yaml").write_text("name: shop\n")
    (folder / "metrics.yaml").write_text(
        "lateness: soon\nmetrics:\n  m: {measure: {sum: salez_value}, windows: [1m]}\n"
    )
    return folder


def test_every_problem_is_told_with_its_line_and_the_exit_code_says_so(tmp_path: Path) -> None:
    folder = broken(tmp_path)
    code, _, err = check(str(folder))
    assert code == 1
    assert f"{folder / 'metrics.yaml'}:1: " in err
    assert (
        f"{folder / 'metrics.yaml'}:3: metric 'm': there is no field 'salez_value'; did you mean 'sales_value'?" in err
    )
    assert "2 problems" in err
    code, out, _ = check(str(folder), "--json")
    assert (code, [p["line"] for p in json.loads(out)["problems"]]) == (1, [1, 3])


def test_a_folder_that_is_not_there_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    code, _, err = check(str(tmp_path / "nowhere"))
    assert code == 1
    assert "nowhere" in err


def test_a_description_is_text_not_markup(tmp_path: Path) -> None:
    (tmp_path / "purchase.v1.json").write_text((RETAIL / "purchase.v1.json").read_text())
    (tmp_path / "domain.yaml").write_text("name: shop\ndescription: sold [/] and [bold]kept\n")
    code, out, _ = check(str(tmp_path))
    assert code == 0
    assert "sold [/] and [bold]kept" in " ".join(out.split())
