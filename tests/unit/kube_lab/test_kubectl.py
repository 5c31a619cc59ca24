import asyncio
import json

from dpucsi.testing.kube.kubectl import _documents
from dpucsi.testing.kube.leftovers import differing


async def test_documents_are_told_apart_wherever_the_stream_is_cut():
    told = [{"name": "Zürich"}, {"nested": {"brace": "}{"}}, {}]
    data = "\n".join(json.dumps(one, ensure_ascii=False, indent=1) for one in told).encode()
    for cut in range(len(data)):
        stream = asyncio.StreamReader()
        stream.feed_data(data[:cut])
        documents = _documents(stream, 5)
        first = asyncio.create_task(anext(documents))
        await asyncio.sleep(0)
        stream.feed_data(data[cut:])
        stream.feed_eof()
        assert [await first, *[one async for one in documents]] == told


async def test_a_silent_stream_ends_with_its_time():
    assert [one async for one in _documents(asyncio.StreamReader(), 0.01)] == []


def test_what_is_left_is_named_and_what_is_the_same_is_not():
    found = {"storage-a": {"lvols": ["a", "b"], "bdevs": ["x"]}, "pv": ["one"], "pvc": []}
    wanted = {"storage-a": {"lvols": ["a"], "bdevs": ["x"]}, "pv": ["one"], "pvc": ["gone"]}
    assert differing(found, wanted) == {
        "storage-a": {"lvols": {"found": ["b"], "missing": []}},
        "pvc": {"found": [], "missing": ["gone"]},
    }
