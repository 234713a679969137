// A Socket.IO server, for tests and the example. Its address: PORT and HOST (127.0.0.1) of the environment.
//
// The log-in is auth.token, which must be TOKEN ("secret"), in the namespaces "/" and "/admin". INTERVAL and TIMEOUT are
// Engine.IO's pingInterval and pingTimeout in milliseconds (25000, 20000), LIMIT the bytes of a message (1000000),
// RECOVERY the milliseconds for which it keeps what a lost client misses (0 = it does not), TICK those between its events
// `tick` with a number (0 = none). It answers `echo` with its arguments and `big` with a string of that size, answers
// `say` by an event `said`, asks `question` when it is asked to by `ask` and tells the answer by `answered`; `kick` puts
// the client out, `close` closes its connection.
import { createServer } from "node:http";
import { Server } from "socket.io";

const { HOST = "127.0.0.1", PORT = "3000", TOKEN = "secret", INTERVAL = "25000", TIMEOUT = "20000" } = process.env;
const { LIMIT = "1000000", RECOVERY = "0", TICK = "0" } = process.env;

const http = createServer();
const io = new Server(http, {
  pingInterval: Number(INTERVAL),
  pingTimeout: Number(TIMEOUT),
  maxHttpBufferSize: Number(LIMIT),
  ...(Number(RECOVERY) > 0 && {
    connectionStateRecovery: { maxDisconnectionDuration: Number(RECOVERY), skipMiddlewares: true },
  }),
});

for (const name of ["/", "/admin"]) {
  const namespace = io.of(name);
  namespace.use((socket, next) => {
    if (socket.handshake.auth.token === TOKEN) return next();
    const error = new Error("not authorized");
    error.data = { got: socket.handshake.auth.token ?? null, code: 17 };
    return next(error);
  });
  namespace.on("connection", (socket) => {
    socket.on("echo", (...args) => args.pop()(...args));
    socket.on("big", (size, answer) => answer("x".repeat(size)));
    socket.on("say", (...args) => socket.emit("said", ...args));
    socket.on("ask", (...args) => socket.emit("question", ...args, (...said) => socket.emit("answered", ...said)));
    socket.on("kick", () => socket.disconnect());
    socket.on("close", () => socket.conn.close());
  });
}

let number = 0;
if (Number(TICK) > 0) setInterval(() => io.emit("tick", (number += 1)), Number(TICK));

http.listen(Number(PORT), HOST, () => console.log(`listening on ws://${HOST}:${PORT}`));
