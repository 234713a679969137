"""The benchmark: libws beside other WebSocket clients, each in a process of its own. See docs/performance.md."""
