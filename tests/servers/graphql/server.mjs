// A GraphQL server over WebSocket, for tests and the example. Its address: PORT and HOST (127.0.0.1) of the environment.
//
// The log-in is connectionParams.token, which must be TOKEN ("secret"); WAIT is how many milliseconds the server waits
// for it (3000). FRAMES is the milliseconds between its ping frames (12000), MESSAGES those between its ping messages (0 =
// none); who leaves one unanswered until the next is cut off, without a close frame. LIMIT: bytes of a message (1 MiB).
// The schema: queries `hello`, `echo(text)`, `big(size)` and `running` (how many clocks run), mutation `add(number)`,
// subscription `count(to, pause)`, subscription `clock`, which never ends.
import { GraphQLInt, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const { HOST = "127.0.0.1", PORT = "4000", TOKEN = "secret", WAIT = "3000" } = process.env;
const { FRAMES = "12000", MESSAGES = "0", LIMIT = "1048576" } = process.env;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function* count({ to, pause: milliseconds }) {
  for (let number = 1; number <= to; number += 1) {
    if (number > 1) await pause(milliseconds);
    yield { count: number };
  }
}

let running = 0;

async function* clock() {
  running += 1;
  try {
    for (;;) {
      yield { clock: new Date().toISOString() };
      await pause(20);
    }
  } finally {
    running -= 1;
  }
}

let total = 0;

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({
    name: "Query",
    fields: {
      hello: { type: GraphQLString, resolve: () => "world" },
      echo: { type: GraphQLString, args: { text: { type: GraphQLString } }, resolve: (_, { text }) => text },
      big: { type: GraphQLString, args: { size: { type: GraphQLInt } }, resolve: (_, { size }) => "x".repeat(size) },
      running: { type: GraphQLInt, resolve: () => running },
    },
  }),
  mutation: new GraphQLObjectType({
    name: "Mutation",
    fields: {
      add: {
        type: GraphQLInt,
        args: { number: { type: GraphQLInt } },
        resolve: (_, { number }) => {
          if (number < 0) throw new Error("only what is more");
          return (total += number);
        },
      },
    },
  }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: {
      count: {
        type: GraphQLInt,
        args: { to: { type: GraphQLInt, defaultValue: 3 }, pause: { type: GraphQLInt, defaultValue: 20 } },
        subscribe: (_, options) => count(options),
      },
      clock: { type: GraphQLString, subscribe: () => clock() },
    },
  }),
});

// Either side may ask with a message of its own: type "ping", answered by "pong" with the same payload or none.
function beat(socket) {
  let number = 0;
  let answered = 0;
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.type === "pong") answered = message.payload?.number;
  });
  const timer = setInterval(() => {
    if (answered !== number) return socket.terminate();
    number += 1;
    socket.send(JSON.stringify({ type: "ping", payload: { number } }));
  }, Number(MESSAGES));
  socket.once("close", () => clearInterval(timer));
}

const server = new WebSocketServer({ host: HOST, port: Number(PORT), path: "/graphql", maxPayload: Number(LIMIT) });
useServer(
  {
    schema,
    connectionInitWaitTimeout: Number(WAIT),
    onConnect: (context) => {
      if (context.connectionParams?.token !== TOKEN) return false; // 4403 Forbidden
      if (Number(MESSAGES)) beat(context.extra.socket);
      return true;
    },
  },
  server,
  Number(FRAMES),
);
