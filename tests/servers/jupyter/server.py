"""A Jupyter server on 127.0.0.1:PORT whose token is "secret"; it writes into a folder of its own, which it removes.

Kernels of ipykernel, named "python3". LEGACY=1: it does not speak the subprotocol.
"""

from __future__ import annotations

import os
import tempfile


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="jupyter-") as home:
        folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HOME", "TMPDIR")
        os.environ.update({name: os.path.join(home, name.lower()) for name in folders})
        for name in folders:
            os.mkdir(os.environ[name])
        from jupyter_server.serverapp import ServerApp  # late: it looks at the folders when it is imported

        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": os.environ.get("PORT", "8888"),
            "ServerApp.port_retries": "0",
            "ServerApp.root_dir": home,
            "ServerApp.open_browser": "False",
            "ServerApp.allow_root": "True",
            "ServerApp.terminals_enabled": "False",
            "KernelManager.shutdown_wait_time": "1.0",
            "IdentityProvider.token": "secret",
        }
        if os.environ.get("LEGACY"):
            options["ZMQChannelsWebsocketConnection.kernel_ws_protocol"] = ""
        ServerApp.launch_instance([f"--{name}={value}" for name, value in options.items()])


if __name__ == "__main__":
    main()
