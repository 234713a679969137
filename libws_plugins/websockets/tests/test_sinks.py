"""What a dialer's connection may have beside the contract: a sink for data, and answers that leave at once."""

from __future__ import annotations

from typing import Any

from libws_core.types import Kind, Message


async def test_without_a_sink_everything_goes_one_way(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"a") + frame(9, b"p") + frame(2, b"b") + frame(8, b"\x03\xe8"))

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    assert [message.kind for message in recorder.messages] == [Kind.TEXT, Kind.PING, Kind.BINARY, Kind.CLOSE]


async def test_only_data_counts_as_data(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.read_frame()
        await peer.send(frame(9, b"p"))
        await peer.read_frame()
        await peer.send(frame(1, b"fragm", fin=False) + frame(0, b"ented"))
        await peer.wait_closed()

    server = await raw_server(script)
    recorder = await dial(server.url)
    connection = recorder.connection
    connection.last_data = connection.received = 0.0
    connection.write(Message.text("go"))
    await recorder.count(1)
    assert connection.last_data == 0.0 < connection.received
    connection.write(Message.text("go"))
    await recorder.count(2)
    assert 0.0 < connection.last_data == connection.received
    connection.abort()
    await recorder.end()


async def test_an_answer_leaves_at_once_and_more_leave_together(raw_server: Any, dial: Any, frame: Any) -> None:
    got: list[tuple[int, bytes]] = []
    held: list[int] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.read_frame()
        await peer.send(frame(1, b"question"))
        got.extend([await peer.read_frame() for _ in range(3)])

    def answer(message: Message) -> None:
        for number in range(3):
            recorder.connection.write(Message.text(f"answer {number}"))
            held.append(recorder.connection.buffered)

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.connection.sink = answer
    recorder.start()
    recorder.connection.write(Message.text("go on"))
    await server.settle()
    assert held == [0, 14, 28]
    assert got == [(0x81, b"answer 0"), (0x81, b"answer 1"), (0x81, b"answer 2")]
