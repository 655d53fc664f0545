"""Named keys of clients: who is let in, to what, how much, and what is written down of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest

from tests.pool.pool_client import APIS, Answer, Api, PoolClient, together, wait_until
from tests.pool.pool_server import Key, Rig, running_rig
from tests.pool.test_pool_shared import RedisServer

KEYS = (Key("one", "alpha", slots=6), Key("two", "beta", slots=6))
PRICES = {"glm-5.3": {"input": 2.0, "cached": 0.5, "output": 8.0}}
FLASH = "flash"


def value(name: str) -> str:
    return f"sk-{name}-0123456789abcdefghijklmnop"


def client_key(name: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "key": value(name), **fields}


ALICE, BOB = client_key("alice"), client_key("bob", pools=[FLASH])


RESPONSES = "/v1/responses"


class Desk:
    """A proxy with client keys, and clients before it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._settings = rig.server.settings

    def clients(self, *clients: Mapping[str, object], **changes: object) -> None:
        """Let these be the clients, and wait until the proxy knows."""
        settings = {
            **self._settings,
            "litellm_proxy_client_keys": list(clients),
            "litellm_proxy_master_key_answers": not clients,
            **{f"litellm_proxy_{name}": change for name, change in changes.items()},
        }
        self.rig.server.write_clients(settings)

    def of(self, name: str) -> PoolClient:
        return PoolClient(self.rig.client.url, value(name))

    def ledger(self, name: str) -> dict[str, Any]:
        """What is written down of a client, summed."""
        with closing(sqlite3.connect(f"file:{self.rig.server.usage_file}?mode=ro", uri=True)) as db:
            row = db.execute(
                "SELECT sum(requests), sum(failed), sum(input), sum(cached), sum(output), sum(cost) "
                "FROM usage WHERE client = ?",
                (name,),
            ).fetchone()
            places = db.execute("SELECT DISTINCT key, pool, model FROM usage WHERE client = ?", (name,)).fetchall()
        names = ("requests", "failed", "input", "cached", "output", "cost")
        return {**dict(zip(names, (number or 0 for number in row), strict=True)), "places": set(places)}


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("clients"), KEYS) as rig:
        yield rig


@pytest.fixture
def desk(module_rig: Rig) -> Iterator[Desk]:
    module_rig.settle()
    mark = module_rig.server.log_mark()
    yield Desk(module_rig)
    print(*module_rig.server.log_since(mark), sep="\n")


def error_type(answer: Answer) -> str:
    return str(answer.error["type"])


# Who ------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_a_named_key_is_answered(desk: Desk, api: Api, stream: bool, header: str) -> None:
    desk.clients(ALICE)
    headers = {"Authorization": "", "x-api-key": value("alice")} if header == "x-api-key" else {}
    assert desk.of("alice").ask(api, stream=stream, headers=headers).status == 200


@pytest.mark.parametrize("api", APIS)
def test_who_is_nobody_or_no_longer_gets_401_in_its_own_format(desk: Desk, api: Api) -> None:
    yesterday = datetime.fromtimestamp(time.time() - 5, timezone.utc).isoformat()
    desk.clients(ALICE, client_key("carol", state="revoked"), client_key("dave", expires=yesterday))
    for name, said in (("eve", "Authentication failed"), ("carol", "was revoked"), ("dave", "expired")):
        answer = desk.of(name).ask(api)
        assert (answer.status, error_type(answer)) == (401, "authentication_error"), answer
        assert said in answer.error["message"]
        assert value(name) not in str(answer)
        assert (answer.body.get("type") == "error") == (api == "anthropic")


def test_a_change_holds_from_the_next_request_on(desk: Desk) -> None:
    desk.clients(ALICE)
    assert desk.of("frank").ask("openai").status == 401
    desk.clients(ALICE, client_key("frank"))
    assert desk.of("frank").ask("openai").status == 200
    desk.clients(ALICE, client_key("frank", state="revoked"))
    assert desk.of("frank").ask("openai").status == 401
    assert desk.of("alice").ask("openai").status == 200


def test_a_file_that_nobody_can_read_changes_nothing(desk: Desk) -> None:
    desk.clients(ALICE)
    assert desk.of("alice").ask("openai").status == 200
    desk.rig.server.clients_file.write_text('{"clients": [')
    assert desk.of("alice").ask("openai").status == 200
    assert any("clients_unreadable" in line for line in desk.rig.server.log.read_text().splitlines())


def test_the_master_key_administers_alone_once_there_are_clients(desk: Desk) -> None:
    desk.clients(ALICE)
    for api in APIS:
        answer = desk.rig.client.ask(api)
        assert (answer.status, error_type(answer)) == (403, "permission_error")
        assert "litellm_proxy_client_keys" in answer.error["message"]
    assert desk.rig.client.call("/v1/models").status == 200
    assert desk.rig.client.call("/metrics").status == 200
    desk.clients(ALICE, master_key_answers=True)
    assert desk.rig.client.ask("openai").status == 200


def test_pages_of_the_administrator_are_closed_to_clients(desk: Desk) -> None:
    desk.clients(ALICE)
    for path in ("/pool/status", "/metrics", "/model/info", "/v1/model/info", "/health", "/config/yaml", "/key/list"):
        assert desk.rig.client.call(path, key=value("alice")).status in (401, 403), path
    assert desk.rig.client.call("/pool/keys/one/enable", method="POST", key=value("alice")).status == 401
    assert desk.rig.client.call("/health/liveliness", key=None).status == 200


# What -----------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("model", ["glm-pool", "glm-alias", "claude-opus-5", "second"])
def test_a_pool_that_is_not_the_clients_gets_403_in_its_own_format(desk: Desk, api: Api, model: str) -> None:
    desk.clients(BOB)
    for stream in (False, True):
        answer = desk.of("bob").ask(api, model=model, stream=stream)
        assert (answer.status, error_type(answer)) == (403, "permission_error"), answer
        assert FLASH in answer.error["message"]
    assert desk.of("bob").ask(api, model=FLASH).status == 200
    assert desk.rig.control.stats()["total"]["requests"] == 1


def test_counting_tokens_goes_by_the_same_pools_and_is_free(desk: Desk) -> None:
    desk.clients(client_key("gina", pools=[FLASH], rpm=1))
    body = {"messages": [{"role": "user", "content": "hello"}]}
    gina = partial(desk.rig.client.call, "/v1/messages/count_tokens", key=value("gina"))
    assert [gina({"model": FLASH, **body}).status for _ in range(3)] == [200, 200, 200]
    assert gina({"model": "glm-pool", **body}).status == 403
    assert desk.of("gina").ask("anthropic", model=FLASH).status == 200
    assert desk.ledger("gina")["requests"] == 1


def test_a_client_sees_the_models_of_its_pools(desk: Desk) -> None:
    desk.clients(ALICE, BOB)

    def models(name: str) -> set[str]:
        answer = desk.rig.client.call("/v1/models", key=value(name))
        assert answer.status == 200, answer
        return {model["id"] for model in answer.body["data"]}

    assert {"glm-pool", "glm-alias", "second", FLASH} <= models("alice")
    assert models("bob") == {FLASH}


# How much -------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_more_requests_at_once_than_allowed_get_429(desk: Desk, api: Api) -> None:
    name = f"henry-{api}"
    desk.clients(client_key(name, max_parallel_requests=2), ALICE)
    desk.rig.accounts(latency=1.0)
    answers = together([partial(desk.of(name).ask, api, stream=True) for _ in range(5)])
    refused = [answer for answer in answers if answer.status == 429]
    assert sorted(answer.status for answer in answers) == [200, 200, 429, 429, 429]
    assert all(error_type(answer) == "rate_limit_error" and answer.retry_after for answer in refused)
    desk.rig.accounts(latency=0.0)
    wait_until(lambda: desk.of(name).ask(api).status == 200, 5)
    assert desk.ledger(name)["failed"] >= 3


def test_a_place_is_free_again_when_the_client_has_gone(desk: Desk) -> None:
    desk.clients(client_key("ines", max_parallel_requests=1))
    desk.rig.accounts(latency=30.0)
    desk.of("ines").send("openai").leave()
    desk.rig.accounts(latency=0.0)
    wait_until(lambda: desk.of("ines").ask("openai").status == 200, 10)


def test_more_requests_a_minute_than_allowed_get_429_until_then(desk: Desk) -> None:
    desk.clients(client_key("jack", rpm=3))
    answers = [desk.of("jack").ask("anthropic") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    retry_after = answers[-1].retry_after
    assert retry_after is not None and 40 < retry_after <= 61
    assert "jack may send 3 requests a minute" in answers[-1].error["message"]


def test_a_token_budget_ends_at_most_what_was_in_flight_later(desk: Desk) -> None:
    """What is under way when it is reached may finish; nothing begins after that."""
    desk.clients(client_key("kate", monthly_tokens=40))
    desk.rig.accounts(latency=0.5)
    first = together([partial(desk.of("kate").ask, "openai") for _ in range(4)])
    assert [answer.status for answer in first] == [200] * 4
    spent = sum(answer.body["usage"]["total_tokens"] for answer in first)
    assert spent > 40
    later = [desk.of("kate").ask(api) for api in APIS]
    assert [answer.status for answer in later] == [429, 429]
    assert all("next month begins" in answer.error["message"] for answer in later)
    assert all(answer.headers["x-should-retry"] == "false" for answer in later)
    assert (later[0].retry_after or 0) > 0
    used = desk.ledger("kate")
    assert used["input"] + used["cached"] + used["output"] == spent
    assert (used["requests"], used["failed"]) == (6, 2)


def test_a_budget_of_money_goes_by_the_prices_that_are_set(desk: Desk) -> None:
    desk.clients(client_key("leo", monthly_budget=0.0001), prices=PRICES)
    answer = desk.of("leo").ask("openai")
    usage = answer.body["usage"]
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens") or 0
    price = PRICES["glm-5.3"]
    dear = (usage["prompt_tokens"] - cached) * price["input"] + cached * price["cached"]
    dear += usage["completion_tokens"] * price["output"]
    assert desk.ledger("leo")["cost"] == pytest.approx(dear / 1e6)
    assert dear / 1e6 > 0.0001, "the test has to spend the budget"
    assert desk.of("leo").ask("openai").status == 429


def test_budgets_outlive_a_restart(desk: Desk) -> None:
    desk.clients(client_key("mona", monthly_tokens=10))
    assert desk.of("mona").ask("openai").status == 200
    assert desk.of("mona").ask("openai").status == 429
    desk.rig.server.stop()
    desk.rig.server.start()
    assert desk.of("mona").ask("openai").status == 429


def test_a_budget_that_is_used_up_amid_hundreds_of_requests(desk: Desk) -> None:
    """Those that wait for a key by then are refused, as are all that come later."""
    desk.clients(client_key("rita", monthly_tokens=10**6), client_key("sven"))
    each = desk.of("sven").ask("openai", text="one of hundreds").body["usage"]["total_tokens"]
    desk.clients(client_key("rita", monthly_tokens=50 * each), client_key("sven"))
    desk.rig.accounts(latency=0.2)
    slots = sum(key.slots or 0 for key in KEYS)
    ask = partial(desk.of("rita").ask, "openai", text="one of hundreds")
    answers = together([ask] * 300, 100)
    assert {answer.status for answer in answers} == {200, 429}
    served = [answer for answer in answers if answer.status == 200]
    assert 50 <= len(served) <= 50 + 2 * slots, "those with the upstream, and answers on their way back"
    used = desk.ledger("rita")
    assert used["input"] + used["cached"] + used["output"] == len(served) * each
    assert (used["requests"], used["failed"]) == (300, 300 - len(served))
    refused = {answer.error["code"] for answer in answers if answer.status == 429}
    assert refused == {"budget_used_up"}
    assert desk.of("sven").ask("openai").status == 200


# What is written down -------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_what_the_upstream_reported(desk: Desk, api: Api, stream: bool) -> None:
    name = f"nora-{api}-{stream}".lower()
    desk.clients(client_key(name))
    fields = {"stream_options": {"include_usage": True}} if stream and api == "openai" else {}
    answer = desk.of(name).ask(api, stream=stream, fields=fields, text="count me in " * 30)
    assert answer.status == 200
    used = desk.ledger(name)
    assert used["input"] + used["cached"] == told(answer, "prompt_tokens", "input_tokens")
    assert used["output"] == told(answer, "completion_tokens", "output_tokens")
    assert (used["requests"], used["failed"]) == (1, 0)
    assert used["places"] == {(answer.key, "glm-pool", "glm-5.3")}
    assert used["cost"] > 0, "LiteLLM's own price"


def told(answer: Answer, *names: str) -> int:
    """The largest number under one of the names in the usage that a client was told."""
    parts = [data for _, data in answer.events] if answer.streamed else [answer.body]
    found = []
    for part in parts:
        if isinstance(part, dict):
            usage = part.get("usage") or (part.get("message") or {}).get("usage") or {}
            found += [
                usage[name] + (usage.get("cache_read_input_tokens") or 0) * (name == "input_tokens")
                for name in names
                if usage.get(name)
            ]
    return int(max(found))


def test_an_answer_that_was_cut_short_counts_what_came(desk: Desk) -> None:
    desk.clients(client_key("olga"))
    desk.rig.accounts(token_interval=0.05, chunks=50)
    for api in APIS:
        going = desk.of("olga").send(api, stream=True)
        going.first_content()
        going.leave()
    wait_until(lambda: desk.ledger("olga")["requests"] == 2, 10)
    used = desk.ledger("olga")
    assert used["input"] > 0
    assert used["output"] >= 2
    assert used["failed"] == 0


def test_failures_are_counted_without_tokens(desk: Desk) -> None:
    desk.clients(client_key("paul"))
    desk.rig.fault(code="1214")
    assert desk.of("paul").ask("openai").status >= 400
    used = desk.ledger("paul")
    assert (used["requests"], used["failed"], used["input"] + used["output"]) == (1, 1, 0)


def test_metrics_log_and_status_name_the_client_and_no_key(desk: Desk) -> None:
    desk.clients(client_key("quinn", monthly_tokens=1000))
    mark = desk.rig.server.log_mark()
    assert desk.of("quinn").ask("openai").status == 200
    metrics = desk.rig.client.metrics()
    assert metrics['litellm_pool_client_requests_total{client="quinn",pool="glm-pool",status="200"}'] == 1
    assert any(name.startswith('litellm_pool_client_tokens_total{client="quinn"') for name in metrics)
    lines = desk.rig.server.log_since(mark)
    assert any("event=served client=quinn pool=glm-pool key=" in line for line in lines)
    assert not any(value("quinn") in line for line in lines)
    (shown,) = desk.rig.status().shown["clients"]
    assert (shown["name"], shown["state"], shown["monthly_tokens"]) == ("quinn", "active", 1000)
    assert shown["tokens"] > 0
    assert value("quinn") not in desk.rig.server.clients_file.read_text()


# The Responses API ----------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_the_responses_api_knows_clients_too(desk: Desk, stream: bool) -> None:
    name = f"tess-{stream}".lower()
    desk.clients(client_key(name, pools=["glm-pool"], rpm=2), client_key("una", state="revoked"))

    def ask(who: str, model: str = "glm-pool") -> Answer:
        body = json.dumps({"model": model, "input": "hello there", "stream": stream})
        return desk.of(who).send_raw("openai", RESPONSES, body.encode()).finish()

    answer = ask(name)
    assert answer.status == 200, answer
    assert [(ask(who).status, error_type(ask(who))) for who in ("una", "nobody")] == [(401, "authentication_error")] * 2
    refused = ask(name, FLASH)
    assert (refused.status, error_type(refused)) == (403, "permission_error"), refused
    limited = ask(name)
    assert (limited.status, error_type(limited)) == (429, "rate_limit_error")
    assert limited.retry_after
    whole = answer.events[-2 if answer.events[-1][1] == "[DONE]" else -1][1]["response"] if stream else answer.body
    used = desk.ledger(name)
    assert used["input"] + used["cached"] == whole["usage"]["input_tokens"]
    assert used["output"] == whole["usage"]["output_tokens"]
    assert (used["requests"], used["failed"]) == (3, 2)
    assert (answer.key, "glm-pool", "glm-5.3") in used["places"]


# LiteLLM's own strategies ---------------------------------------------------------


@pytest.fixture(scope="module")
def plain_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("plain"), KEYS, routing_strategy="simple-shuffle") as rig:
        yield rig


@pytest.fixture
def plain(plain_rig: Rig) -> Iterator[Desk]:
    plain_rig.control.reset()
    mark = plain_rig.server.log_mark()
    yield Desk(plain_rig)
    print(*plain_rig.server.log_since(mark), sep="\n")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [False, True])
def test_where_litellm_chooses_the_key_usage_is_counted_by_its_name(plain: Desk, api: Api, stream: bool) -> None:
    name = f"vera-{api}-{stream}".lower()
    plain.clients(client_key(name))
    fields = {"stream_options": {"include_usage": True}} if stream and api == "openai" else {}
    answer = plain.of(name).ask(api, stream=stream, fields=fields)
    assert answer.status == 200, answer
    used = plain.ledger(name)
    assert used["input"] + used["cached"] == told(answer, "prompt_tokens", "input_tokens")
    assert used["output"] == told(answer, "completion_tokens", "output_tokens")
    (answered,) = [key for key in ("one", "two") if plain.rig.stats_of(key)["answers"]]
    assert used["places"] == {(answered, "glm-pool", "glm-5.3")}
    assert (used["requests"], used["failed"]) == (1, 0)
    assert used["cost"] > 0


@pytest.mark.parametrize("api", APIS)
def test_where_litellm_chooses_the_key_clients_are_judged_as_well(plain: Desk, api: Api) -> None:
    name = f"walt-{api}"
    plain.clients(BOB, client_key(name, rpm=1), client_key("xena", state="revoked"))
    for who in ("xena", "nobody"):
        answer = plain.of(who).ask(api)
        assert (answer.status, error_type(answer)) == (401, "authentication_error")
    for model in ("glm-pool", "glm-alias", "claude-opus-5", "second"):
        for stream in (False, True):
            answer = plain.of("bob").ask(api, model=model, stream=stream)
            assert (answer.status, error_type(answer)) == (403, "permission_error"), answer
    assert [plain.of(name).ask(api).status for _ in range(2)] == [200, 429]
    assert plain.of("bob").ask(api, model=FLASH).status == 200
    assert plain.rig.control.stats()["total"]["requests"] == 2


@pytest.mark.parametrize("which", ["pool", "litellm"])
def test_no_other_name_leads_into_a_pool_that_is_not_the_clients(which: str, desk: Desk, plain: Desk) -> None:
    """LiteLLM takes several names, ids of deployments, and names in the path."""
    proxy = desk if which == "pool" else plain
    proxy.clients(BOB)
    messages = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
    contents = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    names = ("glm-pool", f"{FLASH},glm-pool", f"{FLASH}, glm-alias", "glm-pool/one/openai", "glm-pool/one/anthropic")
    calls: list[tuple[str, dict[str, Any]]] = [
        (path, {"model": name, **messages}) for name in names for path in ("/v1/chat/completions", "/v1/messages")
    ]
    calls += [("/v1/completions", {"model": name, "prompt": "hello"}) for name in names]
    calls += [(RESPONSES, {"model": name, "input": "hello"}) for name in names]
    calls += [("/v1/chat/completions", {"model": ["glm-pool"], **messages})]
    for path in ("/engines/glm-pool", "/openai/deployments/glm-pool"):
        calls.append((f"{path}/chat/completions", {"model": FLASH, **messages}))
    calls.append(("/v1/chat/completions?model=glm-pool", {"model": FLASH, **messages}))
    for path in ("/v1beta/models", "/models"):
        calls.append((f"{path}/glm-pool:generateContent", contents))
        calls.append((f"{path}/{FLASH}:generateContent", {"model": "glm-pool", **contents}))
    for path, body in calls:
        proxy.rig.client.call(path, body, key=value("bob"))
    assert proxy.of("bob").ask("openai", model=FLASH).status == 200
    assert {record["model"] for record in proxy.rig.control.requests()} == {"glm-5.3-flash"}


# Two workers ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    directory = tmp_path_factory.mktemp("workers")
    try:
        with running_rig(directory, KEYS, redis_url=redis.url, num_workers=2) as rig:
            wait_until(lambda: rig.status().shown["shared"]["members"] == 2, 60, lambda: rig.status())
            yield Desk(rig)
    finally:
        redis.stop()


def test_workers_share_a_clients_places(workers: Desk) -> None:
    workers.clients(client_key("yara", max_parallel_requests=3))
    workers.rig.control.reset()
    workers.rig.accounts(latency=1.5)
    answers = together([partial(workers.of("yara").ask, APIS[n % 2], stream=n % 4 > 1) for n in range(16)])
    assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 13
    workers.rig.accounts(latency=0.0)
    wait_until(lambda: workers.of("yara").ask("openai").status == 200, 5)


def test_workers_share_a_clients_minute_and_budget(workers: Desk) -> None:
    workers.rig.control.reset()
    workers.clients(client_key("zoe", rpm=5), client_key("abel", monthly_tokens=1))
    answers = together([partial(workers.of("zoe").ask, APIS[n % 2]) for n in range(16)])
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 11
    assert all(40 < (answer.retry_after or 0) <= 61 for answer in answers if answer.status == 429)
    assert workers.of("abel").ask("openai").status == 200
    assert [workers.of("abel").ask("openai").status for _ in range(8)] == [429] * 8
    assert workers.ledger("zoe")["requests"] == 16
