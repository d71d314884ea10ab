"""What a folder means, and that whoever wrote one wrongly is told where."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.contracts.load import load_domain, load_domains
from dataforge.contracts.lookups import lookup_sources
from dataforge.contracts.model import Condition, Expectation, ExpectationKind, MeasureKind, Rolling
from dataforge.contracts.problems import DomainError

from shop import CONTRACT, FILES, LAKE, METRICS, QUALITY, contract_with, write_shop

RETAIL = Path(__file__).parents[4] / "domains" / "retail"


def problems_of(folder: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(DomainError) as error:
        load_domain(folder)
    return [(p.file.name, p.line, p.message) for p in error.value.problems]


def test_what_a_lookup_names_can_be_had_whole() -> None:
    domain = load_domain(RETAIL)
    products = lookup_sources(domain.folder)["products"]
    assert set(domain.lookups["products"]) == {"product_id", "department"}
    assert {"product_id", "department", "brand", "package_size"} <= set(products.table.column_names)
    assert (products.key, products.table.num_rows) == ("product_id", len(domain.lookups["products"]["product_id"]))


def test_a_lookup_that_is_not_there_is_named_whoever_asks(tmp_path: Path) -> None:
    folder = write_shop(tmp_path, lookups__yaml="products: {source: nowhere.csv, key: sku}\n")
    with pytest.raises(DomainError, match=r"there is no file 'nowhere\.csv'"):
        lookup_sources(folder)


def test_a_whole_folder(tmp_path: Path) -> None:
    domain = load_domain(write_shop(tmp_path))
    event = domain.event("order")
    assert (domain.name, domain.partitions, domain.description) == ("shop", 2, "A shop")
    assert event.contract.raw_topic == "raw.shop.order.v1"
    assert (event.lateness_ms, event.contract.key_field, event.contract.time_format) == (
        30_000,
        "customer",
        "date-time",
    )
    assert event.contract.fields["tags"].nullable
    assert not event.contract.fields["tags"].required
    turnover = event.metrics["turnover"]
    assert turnover.by == ((), ("category",), ("category", "customer"))
    assert turnover.windows_ms == (10_000, 60_000)
    assert turnover.rolling == (Rolling(300_000, 10_000),)
    assert turnover.where == (
        Condition("amount", "ge", 1),
        Condition("amount", "lt", 1000),
        Condition("paid", "eq", True),
        Condition("sku", "in", ("A1", "B2")),
    )
    share = event.metrics["share"].measure
    assert (share.numerator, share.denominator) == (((1, "amount"), (-1, "pieces")), ((1, "amount"),))
    assert event.metrics["best"].measure.field == "category"
    assert event.metrics["best"].measure.kind is MeasureKind.TOP_K
    assert event.dimensions["category"].lookup == {"A1": "tea", "007": "coffee"}


def test_a_field_of_integers_reads_the_keys_of_a_lookup_as_numbers(tmp_path: Path) -> None:
    metrics = METRICS.replace("{field: sku, lookup", "{field: pieces, lookup")
    event = load_domain(write_shop(tmp_path, metrics__yaml=metrics)).event("order")
    assert event.dimensions["category"].lookup == {"7": "coffee"}


def test_what_the_lake_expects_is_read_and_changes_no_fingerprint(tmp_path: Path) -> None:
    plain = load_domain(write_shop(tmp_path / "a"))
    domain = load_domain(write_shop(tmp_path / "b", quality__yaml=QUALITY + LAKE))
    assert (domain.fingerprint, domain.events[0].contract) == (plain.fingerprint, plain.events[0].contract)
    assert domain.events[0].rules == plain.events[0].rules
    assert plain.events[0].expectations == ()
    found = {one.name: one for one in domain.event("order").expectations}
    kind, skus = ExpectationKind, frozenset({"A1", "007", "C3"})
    assert list(found) == ["weighed", "cheap", "known", "once", "usual", "awake", "steady", "same"]
    assert found["weighed"] == Expectation(
        "weighed", kind.COMPLETENESS, ("weight",), 0.9, None, 7, "warn", "It is sent."
    )
    assert (found["cheap"].least, found["cheap"].holds) == (0.99, (("minimum", 0), ("maximum", 500)))
    assert (found["known"].least, found["known"].holds) == (1, (("in_lookup", skus),))
    assert (found["once"].fields, found["once"].days) == (("customer", "sku"), 28)
    assert (found["usual"].least, found["usual"].most) == (1, None)
    assert (found["awake"].most, found["awake"].days, found["awake"].severity) == (3_600, 0, "fail")
    assert (found["steady"].least, found["steady"].most, found["steady"].days) == (0.25, 4, 14)
    assert (found["same"].fields, found["same"].most) == (("amount",), 0.2)
    assert {one.kind for one in found.values()} == set(kind)
    assert {one.name for one in found.values() if one.kind.of_rows} == {"weighed", "cheap", "known"}


def test_a_field_knows_the_names_that_it_had(tmp_path: Path) -> None:
    text = CONTRACT.replace('"x-scale": 2', '"x-scale": 2, "x-renamed-from": ["price", "cost"]')
    text = text.replace('"pieces": {', '"pieces": {"x-renamed-from": "units", ')
    fields = load_domain(write_shop(tmp_path, order__v1__json=text)).event("order").contract.fields
    assert (fields["amount"].renamed_from, fields["pieces"].renamed_from) == (("price", "cost"), ("units",))
    assert fields["sku"].renamed_from == ()


def test_a_contract_alone_is_a_domain(tmp_path: Path) -> None:
    alone = dict.fromkeys(("metrics__yaml", "quality__yaml", "lookups__yaml", "products__csv", "domain__yaml"))
    domain = load_domain(write_shop(tmp_path, **alone))
    assert (domain.name, domain.partitions, domain.event("order").metrics) == ("shop", 4, {})


def test_files_for_later_readers_are_accepted(tmp_path: Path) -> None:
    folder = write_shop(tmp_path, alerts__yaml="anything: [at, all]\n")
    (folder / "queries").mkdir()
    (folder / "queries" / "q.sql").write_text("SELECT 1")
    assert load_domain(folder).name == "shop"


def test_a_folder_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DomainError) as error:
            load_domain(path)
        assert str(error.value) == f"{path}: there is no such folder"


def test_the_horizons_stretch_with_lateness_unless_they_are_given(tmp_path: Path) -> None:
    event = load_domain(write_shop(tmp_path / "a", metrics__yaml="lateness: 3d\n")).event("order")
    assert (event.ttl_ms, event.dedupe_ms) == (6 * 86_400_000, 3 * 86_400_000)
    event = load_domain(write_shop(tmp_path / "b", metrics__yaml="lateness: 1m\ndedupe: 30s\nttl: 1h\n")).event("order")
    assert (event.ttl_ms, event.dedupe_ms) == (3_600_000, 30_000)


def test_the_fingerprint_is_of_what_is_judged_by(tmp_path: Path) -> None:
    first = load_domain(write_shop(tmp_path / "a")).event("order").contract.fingerprint
    again = load_domain(write_shop(tmp_path / "b", metrics__yaml=None)).event("order").contract.fingerprint
    other = load_domain(write_shop(tmp_path / "c", quality__yaml=QUALITY.replace("10000", "20000")))
    assert first == again != other.event("order").contract.fingerprint


def test_all_problems_of_all_folders_are_told_at_once(tmp_path: Path) -> None:
    write_shop(tmp_path / "a", metrics__yaml=METRICS.replace("sum: amount", "sum: amuont").replace("unit:", "units:"))
    write_shop(tmp_path / "b", lookups__yaml="products: {source: nowhere.csv, key: sku}\n")
    with pytest.raises(DomainError) as error:
        load_domains([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    text = str(error.value)
    assert "metrics.yaml:7: metric 'turnover': there is no field 'amuont'; did you mean 'amount'?" in text
    assert "metrics.yaml:12: metric 'turnover' has no 'units'; did you mean 'unit'?" in text
    assert "lookups.yaml:1: lookup 'products': there is no file 'nowhere.csv'" in text
    assert f"{tmp_path / 'c'}: there is no such folder" in text


def test_two_folders_may_not_be_one_domain(tmp_path: Path) -> None:
    write_shop(tmp_path / "a")
    write_shop(tmp_path / "b")
    with pytest.raises(DomainError, match="is a domain 'shop' already"):
        load_domains([tmp_path / "a", tmp_path / "b"])


def test_a_folder_of_domains_stands_for_all_of_them() -> None:
    assert [domain.name for domain in load_domains([RETAIL.parent])] == ["retail"]


METRIC = "metrics:\n  m:\n    {}\n"
EXPECTED = "lake:\n  - name: e\n    severity: warn\n    why: x\n    expect: {}\n"


def wrong_expectation(expect: str, message: str, line: int = 5, more: str = "") -> tuple[str, str, int, str]:
    return ("quality.yaml", EXPECTED.format(expect) + more, line, message)


WRONG = [
    # file, its text, line, part of the message
    ("domain.yaml", "name: My-Shop", 1, "must be a small letter"),
    ("domain.yaml", "partitions: 0", 1, "1 to 1000"),
    ("domain.yaml", "partitions: 07", 1, "a whole number"),
    ("order.v1.json", CONTRACT.replace('"customer": {', '"customer": {,'), 7, "not valid JSON"),
    ("order.v1.json", CONTRACT.replace('"minLength": 1', '"minLength": -1'), 5, "properties/order/minLength"),
    ("order.v1.json", CONTRACT.replace('"minLength": 1', '"pattern": "["'), 5, "regex"),
    ("order.v1.json", CONTRACT.replace('"minimum": 0', '"minimum": NaN'), 0, "NaN"),
    (
        "order.v1.json",
        CONTRACT.replace('"weight": {', '"weight": {"$ref": "http://127.0.0.1:1/x", '),
        0,
        "only point into the file",
    ),
    ("order.v1.json", "true", 1, "a JSON object"),
    ("order.v1.json", '{"$schema": "http://json-schema.org/draft-07/schema#"}', 1, "2020-12"),
    ("order.v1.json", CONTRACT.replace('"event_time": "at"', '"event_time": "att"'), 3, "did you mean 'at'"),
    ("order.v1.json", CONTRACT.replace('"key"', '"kee"'), 3, "did you mean 'key'"),
    ("order.v1.json", CONTRACT.replace('"id": "order"', '"id": "pieces"'), 3, "never null"),
    ("order.v1.json", CONTRACT.replace(', "format": "date-time"', ""), 6, "date-time"),
    ("order.v1.json", CONTRACT.replace('"x-scale": 2', '"x-scale": 10'), 11, "1 to 9"),
    ("order.v1.json", CONTRACT.replace('"x-scale": 2', '"x-renamed-from": 2'), 11, "or a list of names"),
    ("order.v1.json", CONTRACT.replace('"x-scale": 2', '"x-renamed-from": ["", "a"]'), 11, "or a list of names"),
    ("order.v1.json", CONTRACT.replace('"x-scale": 2', '"x-renamed-from": "sku"'), 11, 'is still in "properties"'),
    (
        "order.v1.json",
        CONTRACT.replace('{"type": "number"', '{"x-renamed-from": ["old", "older"], "type": "number"'),
        12,
        "names 'old', and so does field 'amount'",
    ),
    (
        "order.v1.json",
        CONTRACT.replace('"format": "date-time"', '"format": "date-time", "x-renamed-from": "when"'),
        3,
        "'at' is the 'event_time', whose name stays",
    ),
    ("order.v1.json", CONTRACT.replace('"type": "boolean"', '"type": ["boolean", "string"]'), 9, 'one "type"'),
    ("order.v1.json", CONTRACT.replace('"weight"', '"we\\"ight"'), 12, "may not hold quotes"),
    ("order.v1.json", CONTRACT.replace('"sku", "amount"]', '"sku", "amnt"]'), 15, "'amnt'"),
    ("lookups.yaml", "products: {source: products.csv, key: skuu}", 1, "did you mean 'sku'"),
    ("lookups.yaml", "products: {source: ../shop, key: sku}", 1, "no file"),
    ("lookups.yaml", "products: {source: 'package:no_such_package/x.csv', key: sku}", 1, "install that package"),
    ("products.csv", "sku,category\nA1,x\nA1,y\n", 1, "twice"),
    ("products.csv", "sku,category,category\nA1,x,y\n", 1, "twice"),
    ("quality.yaml", QUALITY.replace("too_dear", "not_json"), 2, "reason of the platform"),
    ("quality.yaml", QUALITY.replace("amount", "at"), 4, "event time"),
    ("quality.yaml", QUALITY.replace("amount", "sku"), 4, "needs a integer or number"),
    ("quality.yaml", QUALITY.replace("maximum: 10000", "in: [cheap]"), 4, "'cheap' is not"),
    ("quality.yaml", QUALITY.replace("maximum: 10000", "in_lookup: [products]"), 4, "lookups.yaml has no"),
    ("quality.yaml", QUALITY.replace("maximum: 10000", "maximun: 1"), 4, "did you mean 'maximum'"),
    ("quality.yaml", QUALITY.replace("maximum: 10000", "maximum: .nan"), 4, "needs a number"),
    ("quality.yaml", QUALITY.replace("warn", "drop"), 5, "quarantine or warn"),
    ("quality.yaml", QUALITY.replace("    why: Nobody pays that much.\n", ""), 2, "needs 'why'"),
    ("quality.yaml", QUALITY + LAKE.replace("weighed", "too_dear"), 1, "named 'too_dear'"),
    ("quality.yaml", LAKE.replace("severity: warn", "severity: drop"), 2, "fail or warn"),
    ("quality.yaml", LAKE.replace(", why: Tea.", ""), 3, "needs 'why'"),
    ("quality.yaml", LAKE.replace("name: known", "name: Known"), 4, "a small letter"),
    ("quality.yaml", LAKE.replace("event: order", "event: odrer"), 4, "did you mean 'order"),
    wrong_expectation("{complete: {field: sku}}", "did you mean 'completeness'"),
    wrong_expectation("{freshness: {at_most: 1h}, volume: {within: 2}}", "needs one 'expect'", line=2),
    wrong_expectation("{completeness: {field: skuu}}", "did you mean 'sku'"),
    wrong_expectation("{completeness: {field: sku, at_least: 99}}", "a share above 0"),
    wrong_expectation("{completeness: {field: sku, at_most: 1}}", "has no 'at_most'"),
    wrong_expectation("{uniqueness: {fields: [sku, sku]}}", "different fields"),
    wrong_expectation("{uniqueness: {fields: []}}", "different fields"),
    wrong_expectation("{range: {field: amount}}", "needs 'minimum', 'maximum' or both"),
    wrong_expectation("{range: {field: amount, minimum: 2, maximum: 1}}", "'minimum' is above 'maximum'"),
    wrong_expectation("{range: {field: amount, minimum: .nan}}", "as numbers"),
    wrong_expectation(f"{{mean: {{field: amount, maximum: 1{400 * '0'}}}}}", "as numbers"),
    wrong_expectation("{mean: {field: sku, minimum: 1}}", "'sku' is a string; mean needs a integer or number"),
    wrong_expectation("{references: {field: sku, lookup: product}}", "did you mean 'products'"),
    wrong_expectation("{references: {field: amount, lookup: products}}", "references needs a string or integer"),
    wrong_expectation("{freshness: {at_most: soon}}", "a duration"),
    wrong_expectation("{freshness: {at_most: 1h}}", "has no 'last'", line=6, more="    last: 7d\n"),
    wrong_expectation("{volume: {within: 1}}", "a number above 1"),
    wrong_expectation("{volume: {within: 2}}", "at least 5d", line=6, more="    last: 4d\n"),
    wrong_expectation("{completeness: {field: sku}}", "whole days", line=6, more="    last: 36h\n"),
    wrong_expectation("{drift: {field: at, at_most: 0.1}}", "event time"),
    wrong_expectation("{drift: {field: tags, at_most: 0.1}}", "'tags' is a array"),
    ("metrics.yaml", "lateness: 1 hour", 1, "a duration"),
    ("metrics.yaml", "lateness: 1h\nttl: 30m", 2, "longer than lateness"),
    (
        "metrics.yaml",
        "lateness: 1m\nttl: 5m\n" + METRIC.format("{measure: count, windows: [1m], rolling: [{size: 5m, every: 1m}]}"),
        5,
        "expires before it is final",
    ),
    ("metrics.yaml", "label_cap: 0", 1, "at least 1"),
    ("metrics.yaml", "dimensions: {day: {field: at}}", 1, "event time"),
    ("metrics.yaml", "dimensions: {tag: {field: tags}}", 1, "single value"),
    ("metrics.yaml", "dimensions: {p: {field: paid, lookup: products.category}}", 1, "a string or an integer"),
    ("metrics.yaml", "dimensions: {Day: {field: sku}}", 1, "a small letter"),
    ("metrics.yaml", "dimensions: {c: {field: sku, lookup: products.color}}", 1, "'products.color'"),
    ("metrics.yaml", METRIC.format("{measure: {sum: weight}, windows: [1m]}"), 3, "x-scale"),
    ("metrics.yaml", METRIC.format("{measure: {sum: sku}, windows: [1m]}"), 3, "not a number"),
    ("metrics.yaml", METRIC.format("{measure: {distinct: at}, windows: [1m]}"), 3, "event time"),
    ("metrics.yaml", METRIC.format("{measure: {distinct: sku}, windows: [10s, 1m]}"), 3, "1m and more"),
    ("metrics.yaml", METRIC.format("{measure: {median: amount}, windows: [1m]}"), 3, "no measure 'median'"),
    ("metrics.yaml", METRIC.format("{measure: {quantiles: {field: amount, at: [50]}}, windows: [1m]}"), 3, "0 to 1"),
    ("metrics.yaml", METRIC.format("{measure: count}"), 2, "needs 'windows'"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m, 90s]}"), 3, "multiple of the smallest"),
    (
        "metrics.yaml",
        METRIC.format("{measure: count, windows: [1m], rolling: [{size: 5m, every: 10s}]}"),
        3,
        "every one",
    ),
    (
        "metrics.yaml",
        METRIC.format("{measure: count, windows: [10s, 1m], rolling: [{size: 5m, every: 10s}, {size: 5m, every: 1m}]}"),
        3,
        "one size",
    ),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], by: [sku]}"), 3, "a list of lists"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], by: [[sku]]}"), 3, "no dimension 'sku'"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {amount: {ge: '5'}}}"), 3, "'5' is not"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {at: {ge: x}}}"), 3, "event time"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {paid: {lt: true}}}"), 3, "no order"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {sku: null}}"), 3, "fulfils no condition"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {sku: 7}}"), 3, "in quotes"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {tags: {in: [[a]]}}}"), 3, "single values"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], where: {sku: {in: []}}}"), 3, "a list of values"),
    ("metrics.yaml", METRIC.format("{measure: count, windows: [1m], event: sale}"), 3, "'event' is 'sale'"),
    ("metrics.yaml", "metrics:\n\tm: 1\n", 2, "not valid YAML"),
    ("metrics.yaml", "label_cap: \x01", 0, "special characters"),
    ("metrics.yaml", "label_cap: \udcff", 0, "cannot be read"),
    ("metrics.yaml", "ttl: 1d\nttl: 2d", 2, "there twice"),
    ("metrics.yaml", "metrics: &m\n  m: *m", 1, "inside of what it names"),
    ("metrics.yaml", "metrics:\n  <<: {}", 2, "merges"),
    ("metrics.yaml", "label_cap: !!int x", 1, "cannot be read"),
    ("metrics.yaml", "label_cap: !!int ", 1, "cannot be read"),
    ("metrics.yaml", "label_cap: !!bool x", 1, "cannot be read"),
    ("metrics.yaml", "label_cap: !!timestamp x", 1, "cannot be read"),
    ("metrics.yaml", "metrics: " + "[" * 5_000, 0, "nested too deeply"),
]


@pytest.mark.parametrize(("file", "text", "line", "message"), WRONG, ids=[f"{w[0]}-{w[3]}" for w in WRONG])
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, file: str, text: str, line: int, message: str) -> None:
    found = problems_of(write_shop(tmp_path, **{file.replace(".", "__"): text}))
    told = "lookups.yaml" if file == "products.csv" else file
    assert any((f, n) == (told, line) and message in m for f, n, m in found), found


def test_a_folder_whose_name_is_no_name_needs_another(tmp_path: Path) -> None:
    folder = write_shop(tmp_path).rename(tmp_path / "My-Shop")
    assert problems_of(folder)[0][2].startswith("the domain's name is 'My-Shop'")


def test_plain_words_are_what_their_author_thinks(tmp_path: Path) -> None:
    country = "{measure: count, windows: [1m], where: {sku: {in: [no, on, 007, 2020-01-01, 1:30]}}}"
    event = load_domain(write_shop(tmp_path, metrics__yaml=METRIC.format(country))).event("order")
    assert event.metrics["m"].where[0].value == ("no", "on", "007", "2020-01-01", "1:30")


def test_field_names_are_their_authors(tmp_path: Path) -> None:
    names = ["größe", "with space", "class", "\U0001f600", "a.b", "del\x7f"]
    contract = contract_with(**{name: {"type": "integer"} for name in names})
    metrics = METRIC.format('{measure: {sum: "größe"}, windows: [1m], where: {"with space": 1}}')
    event = load_domain(write_shop(tmp_path, order__v1__json=contract, metrics__yaml=metrics)).event("order")
    assert set(names) < set(event.contract.fields)


SCRAPS = ["{", "}", "[", "]", ":", ",", '"', "'", "\n", "- ", "&a ", "*a", "!!int ", "null", "1e9", "at", "#", "\t"]


@settings(max_examples=150)
@given(st.data(), st.sampled_from(sorted(FILES)))
def test_a_damaged_folder_is_loaded_or_told_about_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, file: str
) -> None:
    text = FILES[file]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(SCRAPS)) + text[at + data.draw(st.integers(0, 12)) :]
    folder = write_shop(tmp_path_factory.mktemp("damaged"), **{file.replace(".", "__"): text})
    with suppress(DomainError):
        assert load_domain(folder).events


def test_the_example_of_the_grammar_is_a_domain(tmp_path: Path) -> None:
    """Writes the files docs/specs/domain.md shows under "A whole example", and reads them."""
    text = (RETAIL.parents[1] / "docs" / "specs" / "domain.md").read_text().split("## A whole example")[1]
    blocks = text.split("\n`orders/")[1:]
    (tmp_path / "orders").mkdir()
    for block in blocks:
        name, _, rest = block.partition("`")
        (tmp_path / "orders" / name).write_text(rest.split("```", 2)[1].partition("\n")[2])
    event = load_domain(tmp_path / "orders").event("order")
    assert sorted(event.metrics) == ["buyers", "refused", "shipping_share", "turnover"]
    assert event.dimensions["category"].lookup == {"A1": "tea", "B2": "coffee"}
    assert [rule.name for rule in event.rules] == ["too_dear"]


def test_names_in_messages_are_json_safe(tmp_path: Path) -> None:
    found = problems_of(write_shop(tmp_path, metrics__yaml="mertics: 1\n"))
    assert json.dumps(found)
    assert found[0][2] == "metrics.yaml has no 'mertics'; did you mean 'metrics'?"
