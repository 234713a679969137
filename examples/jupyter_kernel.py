"""A kernel of a Jupyter server: code that prints, asks for input, and fails; its outputs outlive lost connections.

Install:            pip install libws-jupyter jupyter-server ipykernel
A server:           jupyter server --no-browser --IdentityProvider.token=secret
Then:               JUPYTER_TOKEN=secret python examples/jupyter_kernel.py [URL]     (default http://localhost:8888)

The URL that Jupyter prints, with its token, will do as it is. The kernel is shut down at the end. With a wrong token it
ends at once.
"""

import asyncio
import os
import sys

from libws_core import Client, ConnectError
from libws_jupyter import ExecutionFailed, Jupyter, Output

URL = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8888"
TOKEN = os.environ.get("JUPYTER_TOKEN", "secret")
COUNT_DOWN = """
import time
for number in (3, 2, 1):
    print(number, flush=True)
    time.sleep(0.2)
"lift-off"
"""


async def show(jupyter: Jupyter, code: str) -> None:
    """Run code, and print what comes of it."""
    execution = await jupyter.execute(code, stdin=lambda prompt: "Ann")
    async for output in execution:
        if isinstance(output, Output) and output.type != "error" and output.text.strip():
            print(f"{output.type}: {output.text.strip()}")
    try:
        await execution.result()
    except ExecutionFailed as error:
        print("failed:", error)


async def main() -> None:
    options = {} if "token=" in URL else {"token": TOKEN}
    async with Client(URL, plugins=["jupyter"], options={"jupyter": options}) as client:
        jupyter = client.plugin(Jupyter)
        await show(jupyter, COUNT_DOWN)
        await show(jupyter, "print('hello, ' + input('name? '))")
        await show(jupyter, "1 / 0")


try:
    asyncio.run(main())
except ConnectError as error:
    sys.exit(f"{error}: {error.verdict}")
