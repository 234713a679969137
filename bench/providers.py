"""What a provider's stages cost: for each, the opening dialogue and a typical message, as its documentation shows them.

To add one: a class below and its line in `PROVIDERS`. The server and the clients share this table.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from libws_core import Client, Message

MODES = {"alone": "libws alone", "json": "and `message.json`", "with": "with it"}
"""How the same messages are received. Only "with" has the plugin, and its dialogue."""
KERNEL = "01234567-89ab-cdef-0123-456789abcdef"
BATCH = 500
"""Messages that are asked for together."""


class Provider:
    """A provider: one instance is one connection, as its server sees it, or as its user does."""

    module: ClassVar[str]
    """What must be installed."""
    plugins: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    what: ClassVar[str]
    """The message, for people."""
    hello: ClassVar[tuple[str, ...]] = ()
    """What the server says first."""
    chooses: ClassVar[bool] = True
    """The server takes the subprotocol that the client offers."""
    window: ClassVar[int | None] = None
    """Messages that wait for the client's answers at a time; None = it gives none."""

    def answers(self, said: str) -> list[str]:
        """What the server says to a text of the client's."""
        return []

    def message(self, number: int) -> str:
        """A typical message; each number gives another one, and costs the server little."""
        raise NotImplementedError

    async def listen(self, client: Client, handle: Callable[[Any], None]) -> None:
        """Have each message handled, in the way of its users; returns when the server may begin."""
        client.on_message(handle)

    def parse(self, message: Message) -> None:
        """What a user does with a message who has no plugin for it."""
        _ = message.json

    @classmethod
    def missing(cls) -> bool:
        """It is not installed."""
        return importlib.util.find_spec(cls.module) is None


class Binance(Provider):
    """https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, "Trade Streams"."""

    module = "libws_binance"
    plugins = ("binance",)
    options: ClassVar = {"binance": {"streams": ["bnbbtc@trade"]}}
    what = "a trade"

    def answers(self, said: str) -> list[str]:
        return [json.dumps({"result": None, "id": json.loads(said)["id"]})]

    def message(self, number: int) -> str:
        return (
            f'{{"e":"trade","E":1672515782136,"s":"BNBBTC","t":{number},"p":"0.001","q":"100","T":1672515782136,'
            '"m":true,"M":true}'
        )


class BinanceApi(Provider):
    """https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream, "Order Update"."""

    module = "libws_binance"
    plugins = ("binance-api",)
    options: ClassVar = {"binance-api": {"api_key": "a key", "secret": "its secret", "user_data": True}}
    what = "an order's update"

    def answers(self, said: str) -> list[str]:
        asked = json.loads(said)
        result = {"serverTime": 1672515782136} if asked["method"] == "time" else {"subscriptionId": 0}
        return [json.dumps({"id": asked["id"], "status": 200, "result": result})]

    def message(self, number: int) -> str:
        return (
            '{"subscriptionId":0,"event":{"e":"executionReport","E":1499405658658,"s":"ETHBTC",'
            '"c":"mUvoqJxFIILMdfAW5iGSOW","S":"BUY","o":"LIMIT","f":"GTC","q":"1.00000000","p":"0.10264410",'
            '"P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"NEW","X":"NEW","r":"NONE","i":4293153,'
            '"l":"0.00000000","z":"0.00000000","L":"0.00000000","n":"0","N":null,"T":1499405658657,"t":-1,'
            f'"I":{number},"w":true,"m":false,"M":false,"O":1499405658657,"Z":"0.00000000","Y":"0.00000000",'
            '"Q":"0.00000000","W":1499405658657,"V":"NONE"}}'
        )


class Graphql(Provider):
    """https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md, "Next"."""

    module = "libws_graphql"
    plugins = ("graphql",)
    what = "a result of a subscription"
    reading: asyncio.Task[None]

    def __init__(self) -> None:
        self.id = "1"

    def answers(self, said: str) -> list[str]:
        message = json.loads(said)
        if message["type"] == "connection_init":
            return ['{"type":"connection_ack"}']
        if message["type"] == "subscribe":
            self.id = message["id"]
        return ['{"type":"pong"}'] if message["type"] == "ping" else []

    def message(self, number: int) -> str:
        return f'{{"id":"{self.id}","type":"next","payload":{{"data":{{"greetings":"message {number}"}}}}}}'

    async def listen(self, client: Client, handle: Callable[[Any], None]) -> None:
        results = client.plugin("graphql").subscribe("subscription { greetings }")

        async def read() -> None:
            async for data in results:
                handle(data)

        self.reading = asyncio.get_running_loop().create_task(read())
        await client.send('{"type":"ping"}', confirm=True)  # so that the server has read what was sent before, too


class Socketio(Provider):
    """https://socket.io/docs/v4/engine-io-protocol and https://socket.io/docs/v4/socket-io-protocol."""

    module = "libws_socketio"
    plugins = ("socketio",)
    what = "an event"
    hello = (
        '0{"sid":"lv_VI97HAXpY6yYWAAAB","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}',
    )

    def answers(self, said: str) -> list[str]:
        return ['40{"sid":"wZX3oN0bSVIhsaknAAAI"}'] if said.startswith("40") else []

    def message(self, number: int) -> str:
        return f'42["foo",{{"number":{number},"text":"an event of the default namespace"}}]'

    def parse(self, message: Message) -> None:
        json.loads(message.data[2:])  # behind the types of its two packets


class Discord(Provider):
    """https://docs.discord.com/developers/events/gateway, "Connections", and its gateway-events, "Message Create"."""

    module = "libws_discord"
    plugins = ("discord",)
    options: ClassVar = {"discord": {"token": "a token", "intents": ["GUILD_MESSAGES"]}}
    what = "a message in a channel"
    hello = ('{"op":10,"d":{"heartbeat_interval":45000}}',)

    def answers(self, said: str) -> list[str]:
        op = json.loads(said)["op"]
        if op == 1:
            return ['{"op":11}']
        ready = '{"op":0,"s":1,"t":"READY","d":{"v":10,"session_id":"a session","resume_gateway_url":"wss://test/"}}'
        return [ready] if op == 2 else []

    def message(self, number: int) -> str:
        return (
            f'{{"op":0,"s":{number + 1},"t":"MESSAGE_CREATE","d":{{"id":"334385199974967042",'
            '"channel_id":"290926798999357250","author":{"username":"Mason","discriminator":"9999",'
            '"id":"53908099506183680","avatar":"a_bab14f271d565501444b2ca3be944b25"},"content":"Supa Hot",'
            '"timestamp":"2017-07-11T17:27:07.299000+00:00","edited_timestamp":null,"tts":false,'
            '"mention_everyone":false,"mentions":[],"mention_roles":[],"attachments":[],"embeds":[],"pinned":false,'
            '"type":0}}'
        )

    async def listen(self, client: Client, handle: Callable[[Any], None]) -> None:
        await client.recv()  # the READY
        client.on_message(handle)


def one_kernel() -> Any:
    """An HTTP client for whom there is a kernel, without a server."""
    import httpx  # late: only the plugin needs it

    model = {"id": KERNEL, "execution_state": "idle"}
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=model)))


class Jupyter(Provider):
    """https://jupyter-client.readthedocs.io/en/stable/messaging.html, "Streams (stdout, stderr, etc)", by the legacy
    protocol of https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html."""

    module = "libws_jupyter"
    plugins = ("jupyter",)
    options: ClassVar = {"jupyter": {"kernel": KERNEL, "client": one_kernel}}
    what = "a line of output"
    chooses = False
    reading: asyncio.Task[None]

    def __init__(self) -> None:
        self.parent: dict[str, Any] = {}
        self.count = 0

    def says(self, channel: str, type: str, content: str) -> str:
        self.count += 1
        return (
            f'{{"header":{{"msg_id":"1a2b3c4d-0123456789abcdef01234567_4711_{self.count}","msg_type":"{type}",'
            '"username":"username","session":"1a2b3c4d-0123456789abcdef01234567","date":"2026-11-28T10:00:00.000000Z",'
            f'"version":"5.3"}},"parent_header":{json.dumps(self.parent)},"metadata":{{}},"content":{content},'
            f'"buffers":[],"channel":"{channel}"}}'
        )

    def answers(self, said: str) -> list[str]:
        message = json.loads(said)
        self.parent = message["header"]
        if self.parent["msg_type"] != "kernel_info_request":
            return []
        info = self.says(message["channel"], "kernel_info_reply", '{"status":"ok","protocol_version":"5.3"}')
        return [info, self.says("iopub", "status", '{"execution_state":"idle"}')]

    def message(self, number: int) -> str:
        return self.says("iopub", "stream", f'{{"name":"stdout","text":"line {number}\\n"}}')

    async def listen(self, client: Client, handle: Callable[[Any], None]) -> None:
        execution = await client.plugin("jupyter").execute("while True: print('line')")

        async def read() -> None:
            async for output in execution:
                handle(output)

        self.reading = asyncio.get_running_loop().create_task(read())


class Ocpp(Provider):
    """OCPP-J 1.6 section 4.2.1, with the payload of OCPP 1.6 section 6.33; every CALL is answered."""

    module = "libws_ocpp"
    plugins = ("ocpp",)
    what = "a call, answered; 50 at a time"
    window = 50

    def message(self, number: int) -> str:
        return f'[2,"{number}","RemoteStartTransaction",{{"connectorId":1,"idTag":"4F62C4E0123456789A"}}]'

    async def listen(self, client: Client, handle: Callable[[Any], None]) -> None:
        @client.plugin("ocpp").on("RemoteStartTransaction")  # type: ignore[untyped-decorator]
        def start(payload: dict[str, Any]) -> dict[str, str]:
            handle(payload)
            return {"status": "Accepted"}


PROVIDERS: Mapping[str, type[Provider]] = {
    "binance": Binance,
    "binance-api": BinanceApi,
    "graphql": Graphql,
    "socketio": Socketio,
    "discord": Discord,
    "jupyter": Jupyter,
    "ocpp": Ocpp,
}
"""By the name under which they stand in the table."""
