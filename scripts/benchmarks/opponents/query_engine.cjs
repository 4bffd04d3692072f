// Prisma's query engine as a program: what its own binary says over HTTP, said by its library, which does the work.
// query_engine.cjs LIBRARY [--version | -p PORT …]
"use strict";
const fs = require("node:fs");
const http = require("node:http");

const [, , library, ...options] = process.argv;
const { QueryEngine, version } = require(library);
const TRACE = "{}";

if (options.includes("--version")) {
  console.log(`query-engine ${version().commit}`);
} else {
  serve(open(), Number(options[options.indexOf("-p") + 1]));
}

function open() {
  const sources = JSON.parse(process.env.OVERWRITE_DATASOURCES ?? "[]");
  const settings = {
    datamodel: fs.readFileSync(process.env.PRISMA_DML_PATH, "utf8"),
    datasourceOverrides: Object.fromEntries(sources.map(({ name, url }) => [name, url])),
    env: process.env,
    configDir: ".",
    ignoreEnvVarErrors: false,
    logLevel: "error",
    logQueries: false,
  };
  return new QueryEngine(settings, (entry) => console.error(entry));
}

async function serve(engine, port) {
  await engine.connect(TRACE);
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    let status = 200;
    let text;
    try {
      text = await answer(engine, request, Buffer.concat(parts).toString());
    } catch (error) {
      status = 500;
      text = error.message;
      console.error(request.url, text);
    }
    response.writeHead(status, { "content-type": "application/json" }).end(text);
  });
  server.keepAliveTimeout = 0;
  server.listen(port, "localhost");
  // Nobody else would end it if its proxy is killed.
  const parent = process.ppid;
  setInterval(() => process.ppid === parent || process.exit(), 1000).unref();
}

function answer(engine, request, body) {
  const [path] = request.url.split("?");
  const [, , id, verb] = path.split("/");
  if (path === "/") return engine.query(body, TRACE, request.headers["x-transaction-id"]);
  if (path === "/status") return '{"status":"ok"}';
  if (path === "/transaction/start") return engine.startTransaction(body, TRACE);
  if (verb === "commit") return engine.commitTransaction(id, TRACE);
  if (verb === "rollback") return engine.rollbackTransaction(id, TRACE);
  throw new Error(`the engine is asked for ${request.url}`);
}
