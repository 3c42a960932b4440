"""Numbers of GPUs, metrics and workloads: the same for everyone, one for each, whatever the texts are."""

import json
import random
import sys
from dataclasses import replace

import numpy as np
import pytest

from telemetry.block import Block, Gpu, Workload
from telemetry.store.dimensions import Dimensions
from telemetry.store.errors import StoreLost
from telemetry.store.gate import Standing
from tests.fixtures.ledger import Store, a_block, a_gpu, at_once

MIG = '{"GPU_I_ID":"%d","GPU_I_PROFILE":"1g.10gb"}'


def block_of(gpus: list[Gpu], workloads: list[Workload], metrics: list[str]) -> Block:
    """A block in which each combination has its turn, as it comes off the wire."""
    rows = len(gpus) * len(workloads) * len(metrics)
    turn = np.arange(rows, dtype=np.int32)
    block = replace(
        a_block(rows=rows, gpus=gpus),
        workloads=workloads,
        metrics=metrics,
        workload=turn // len(gpus) % len(workloads),
        metric=turn // len(gpus) // len(workloads),
    )
    return Block.decode(block.id, rows, "block/1", block.encode())


def letters(count: int, alphabet: str, seed: int) -> str:
    """A text that cannot be compressed much."""
    return "".join(random.Random(seed).choices(alphabet, k=count))


def test_collectors_that_learn_the_same_at_once_agree(store: Store) -> None:
    gpus = [a_gpu(n) for n in range(300)]
    workloads = [Workload("c", f"pod-{n}", "ns", "{}") for n in range(20)]
    metrics = [f"metric_{n}" for n in range(30)]
    views = [Dimensions(session=store.session()) for _ in range(5)]

    def learn(n: int) -> tuple[list[int], list[int], list[int]]:
        share = random.Random(n)
        for _ in range(4):
            some = share.sample(gpus, 150), share.sample(workloads, 10), share.sample(metrics, 15)
            views[n].learn([block_of(some[0], some[1][:1], some[2][:1]), block_of(some[0][:1], some[1], some[2])])
        whole = block_of(gpus, workloads[:1], metrics[:1]), block_of(gpus[:1], workloads, metrics)
        views[n].learn(whole)
        numbers = [views[n].numbers(block) for block in whole]
        return numbers[0][0].tolist(), numbers[1][1].tolist(), numbers[1][2].tolist()

    found = at_once([lambda n=n: learn(n) for n in range(5)])  # type: ignore[misc]  # bound now
    assert all(one == found[0] for one in found)
    for table, items in (("gpus", gpus), ("workloads", workloads), ("metrics", metrics)):
        assert store.database.one(f"SELECT count(*) FROM {table}") == len(items)


def test_what_is_known_burns_no_number(store: Store) -> None:
    store.reserve(*[4] * 12)
    for n in range(11):
        store.stored(a_block(first_row=4 * n))
    store.stored(a_block(first_row=44, gpus=[a_gpu(7)]))
    assert store.database.ask("SELECT gpu, gpu_id FROM gpus ORDER BY gpu") == [(1, "0"), (2, "7")]
    assert store.database.ask("SELECT metric FROM metrics ORDER BY metric") == [(1,), (2,)]


def test_numbers_are_forgotten_with_the_connection(store: Store) -> None:
    store.reserve(4, 4)
    writer = store.writer()
    writer.store([a_block()])
    store.database.ask("TRUNCATE gpus, metrics, workloads")  # another server took over, without the last commits
    store.database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'telemetry_writer'")
    with pytest.raises(StoreLost):
        writer.store([a_block(first_row=4)])
    assert writer.store([a_block(first_row=4)]) == [Standing.STORED]
    assert store.database.ask("SELECT count(*), count(uuid), count(metric_name), count(pod) FROM telemetry") == [
        (8, 4, 4, 4)
    ]
    assert store.database.one("SELECT count(*) FROM gpus WHERE last_seen IS NOT NULL") == 1


def test_a_number_whose_insertion_was_aborted_is_not_remembered(store: Store) -> None:
    store.reserve(4)
    url, proxy = store.proxied()
    writer = store.writer(url=url)
    proxy.lose_reply(b"INSERT INTO workloads")
    with pytest.raises(StoreLost):
        writer.store([a_block()])
    store.database.ask("TRUNCATE gpus, metrics, workloads")
    assert writer.store([a_block()]) == [Standing.STORED]
    assert store.database.one("SELECT count(*) FROM telemetry WHERE uuid IS NOT NULL AND pod IS NOT NULL") == 4


@pytest.mark.parametrize("alphabet", ["abcdefghijklmnop0123456789", "".join(map(chr, range(0x10400, 0x10800)))])
def test_texts_as_long_as_a_message_may_have_them_are_stored(store: Store, alphabet: str) -> None:
    gpu = Gpu(*(letters(1_024, alphabet, n) for n in range(5)))
    nameless = gpu._replace(uuid="")
    container, pod, namespace = (letters(1_024, alphabet, n) for n in range(5, 8))
    workload = Workload(container, pod, namespace, f'"{letters(16_384, alphabet, 8)}"')
    labelled = workload._replace(labels=f'{{"job":"{letters(16_381, alphabet, 9)}"}}')
    block = block_of(
        [gpu, nameless], [workload, labelled], [letters(1_024, alphabet, 10), letters(1_023, alphabet, 10)]
    )
    store.reserve(8)
    assert store.stored(block) == [Standing.STORED]
    found = store.database.ask("SELECT DISTINCT uuid, gpu_id, device, model_name, hostname FROM telemetry")
    assert set(found) == {tuple(gpu[:5]), tuple(nameless[:5])}
    assert store.database.one("SELECT max(length(labels_raw)) FROM telemetry") == 16_381 + len('job=""')
    assert store.database.one("SELECT id FROM gpus WHERE uuid = ''") == f"{gpu.hostname}:{gpu.gpu_id}"


def test_labels_of_twenty_thousand_characters_are_stored(store: Store) -> None:
    text = letters(20_000, "abc\u00e9\U0001f600\\", 1)
    store.reserve(1)
    block = replace(a_block(rows=1), workloads=[Workload("", "", "", json.dumps(text))])
    assert store.stored(block) == [Standing.STORED]
    assert store.database.one("SELECT labels_raw FROM telemetry") == text


@pytest.mark.parametrize("text", ["", " ", "é", "\u202e", "\U0001f9ea", "a\nb", "\\", "NULL", "{}", "'; DROP TABLE x;"])
def test_any_text_is_told_apart_and_comes_back(store: Store, text: str) -> None:
    gpus = [Gpu("GPU-1", "0", text, text, text), Gpu("GPU-1", "0", text + "x", text, text)]
    store.reserve(2)
    block = block_of(gpus, [Workload(text, text, text, "{}")], ["m" + text])
    assert store.stored(block) == [Standing.STORED]
    found = store.database.ask(
        "SELECT device, model_name, hostname, container, metric_name FROM telemetry ORDER BY device"
    )
    assert found == [(text, text, text, text, "m" + text), (text + "x", text, text, text, "m" + text)]


def test_label_sets_that_are_equal_as_json_are_one(store: Store) -> None:
    body = a_block().encode()
    one = body.replace(b'"labels":{}', b'"labels":{"a":"1","b":null}')
    other = body.replace(b'"labels":{}', b'"labels": {"b" : null, "a" : "\\u0031"}')
    store.reserve(4, 4)
    for n, text in enumerate((one, other)):
        assert store.stored(Block.decode(f"s:{4 * n}", 4, "block/1", text)) == [Standing.STORED]
    assert store.database.ask('SELECT labels = \'{"b": null, "a": "1"}\' FROM workloads') == [(True,)]
    assert store.database.one("SELECT count(*) FROM gpus") == 1


def test_a_workload_with_other_labels_is_another_one_and_the_past_stays(store: Store) -> None:
    store.reserve(2)
    labels = ['{"job":"a"}', '{"job":"b"}']
    store.stored(block_of([a_gpu()], [Workload("c", "p", "n", text) for text in labels], ["m"]))
    found = store.database.ask("SELECT labels_raw, count(*) FROM telemetry GROUP BY 1 ORDER BY 1")
    assert found == [('job="a"', 1), ('job="b"', 1)]


def test_mig_instances_are_rows_of_one_gpu(store: Store) -> None:
    gpus = [a_gpu(0), a_gpu(0, labels=MIG % 1), a_gpu(0, labels=MIG % 2)]
    store.reserve(3)
    store.stored(block_of(gpus, [Workload("", "", "", '{"GPU_I_ID":null,"GPU_I_PROFILE":null}')], ["m"]))
    assert store.database.ask("SELECT DISTINCT id FROM gpus") == [("GPU-0",)]
    found = {text for (text,) in store.database.ask("SELECT labels_raw FROM telemetry")}
    assert found == {f'GPU_I_ID="{n}",GPU_I_PROFILE="{p}"' for n, p in (("", ""), ("1", "1g.10gb"), ("2", "1g.10gb"))}


def test_a_cache_that_grows_too_large_begins_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["telemetry.store.dimensions"], "REMEMBERED", 5)
    store.reserve(*[8] * 6)
    writer = store.writer()
    for n in range(6):
        block = a_block(first_row=8 * n, rows=8, gpus=[a_gpu(i) for i in range(n, n + 8)])
        assert writer.store([block]) == [Standing.STORED]
    expected = "value::int % 8 + value::int / 8 = substr(uuid, 5)::int"
    assert store.database.one(f"SELECT count(*) FROM telemetry WHERE {expected}") == 48
