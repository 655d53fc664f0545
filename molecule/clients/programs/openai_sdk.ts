// The `openai` package in TypeScript; its URL and key come from the environment, as its documentation has it.
import { existsSync, writeFileSync } from "node:fs";
import OpenAI from "openai";

// so that nothing is hidden by a second try
const client = new OpenAI({ maxRetries: 0, timeout: 60_000 });
const model = "glm-pool";
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const weather = {
  type: "function" as const,
  function: {
    name: "weather",
    description: "Weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
type Messages = OpenAI.Chat.Completions.ChatCompletionMessageParam[];
const user = (content: string): Messages => [{ role: "user", content }];
const words = (text: string | null): number => (text ?? "").split(/\s+/).length;
const ask = async (content: string, more: object = {}) =>
  (await client.chat.completions.create({ model, messages: user(content), ...more })) as OpenAI.Chat.ChatCompletion;

const features: Record<string, () => Promise<unknown>> = {
  async text() {
    const answer = await ask("hello");
    return [answer.choices[0].message.content, answer.choices[0].finish_reason, answer.model];
  },
  async stream() {
    const texts: string[] = [];
    let counted = false;
    const chunks = await client.chat.completions.create({
      model, messages: user("hello"), stream: true, stream_options: { include_usage: true },
    });
    for await (const chunk of chunks) {
      for (const choice of chunk.choices) texts.push(choice.delta.content ?? "");
      counted ||= (chunk.usage?.completion_tokens ?? 0) > 0;
    }
    return [texts.join(""), texts.filter(Boolean).length > 1, counted];
  },
  async tools() {
    const messages = user('call tool weather with {"city": "Bonn"}');
    const first = (await client.chat.completions.create({ model, messages, tools: [weather] })).choices[0];
    const call = first.message.tool_calls![0];
    if (call.type !== "function") throw new Error(`a call of type ${call.type}`);
    messages.push(first.message, { role: "tool", tool_call_id: call.id, content: "rain" });
    const last = (await client.chat.completions.create({ model, messages, tools: [weather] })).choices[0];
    return [first.finish_reason, call.function.name, JSON.parse(call.function.arguments), last.message.content];
  },
  // asks again with each result until there is an answer
  async tool_loop() {
    const messages = user('call tool weather with {"city": "Bonn"}, then call tool weather with {"city": "Ulm"}');
    const cities: string[] = [];
    for (;;) {
      const answer = (await client.chat.completions.create({ model, messages, tools: [weather] })).choices[0].message;
      if (!answer.tool_calls?.length) return [cities, answer.content];
      messages.push(answer);
      for (const call of answer.tool_calls) {
        if (call.type === "function") cities.push(JSON.parse(call.function.arguments).city);
        messages.push({ role: "tool", tool_call_id: call.id, content: "rain" });
      }
    }
  },
  async forced_tool() {
    const choice = { type: "function", function: { name: "weather" } };
    const answer = (await ask("anything", { tools: [weather], tool_choice: choice })).choices[0];
    const calls = answer.message.tool_calls ?? [];
    return [answer.finish_reason, calls.map((call) => call.type === "function" && call.function.name)];
  },
  async json_output() {
    const answer = await ask("as JSON", { response_format: { type: "json_object" } });
    return JSON.parse(answer.choices[0].message.content ?? "");
  },
  async thinking() {
    const answer = (await ask("think", { reasoning_effort: "high" })).choices[0].message;
    return Boolean((answer as { reasoning_content?: string }).reasoning_content);
  },
  async images() {
    const messages: Messages = [{ role: "user", content: [
      { type: "text", text: "what is this" },
      { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } },
    ] }];
    const answer = await client.chat.completions.create({ model, messages });
    return [answer.choices[0].message.content, answer.usage!.prompt_tokens > 200];
  },
  async documents() {
    const messages: Messages = [{ role: "user", content: [
      { type: "file", file: { filename: "page.txt", file_data: "data:text/plain;base64,YSBwYWdl" } },
      { type: "text", text: "read" },
    ] }];
    return (await client.chat.completions.create({ model, messages })).choices[0].message.content;
  },
  async models() {
    const found: string[] = [];
    for await (const entry of client.models.list()) found.push(entry.id);
    return found.sort();
  },
  // who says that it answers to each name, and what
  async names() {
    const found: unknown[] = [];
    for (const name of ["glm-flash", "glm-5.3", "claude-sonnet-4-20250514", "claude-opus-5-5"]) {
      const answer = await ask("hello", { model: name });
      found.push([name, answer.model, answer.choices[0].message.content]);
    }
    return found;
  },
  async count_tokens() {
    return (await client.responses.inputTokens.count({ model, input: "count me, please" })).input_tokens;
  },
  async beta() {
    const headers = { "OpenAI-Beta": "assistants=v2" };
    const answer = await client.chat.completions.create({ model, messages: user("hello") }, { headers });
    return answer.choices[0].message.content;
  },
  // a tool that OpenAI's own servers run
  async server_tools() {
    const answer = await client.responses.create({ model, input: "search", tools: [{ type: "web_search" }] });
    return answer.output.map((item) => item.type);
  },
  // whether the first time nothing is read from the cache, and some is when as many have asked as there are keys
  async cache() {
    const prompt = `the same prompt at ${Date.now()}, of some length, `.repeat(20);
    const counted: number[] = [];
    for (let turn = 0; turn < 8; turn++) {
      counted.push((await ask(prompt)).usage!.prompt_tokens_details!.cached_tokens!);
    }
    return [counted[0] === 0, Math.max(...counted) > 0];
  },
  async long_answer() {
    const answer = (await ask("answer with 5000 words")).choices[0];
    return [words(answer.message.content), answer.finish_reason];
  },
  async limited_answer() {
    const answer = await ask("answer with 900 words", { max_tokens: 50 });
    return [answer.choices[0].finish_reason, answer.usage!.completion_tokens];
  },
  async structured_output() {
    const schema = { type: "object", properties: { simulated: { type: "boolean" } }, required: ["simulated"] };
    const format = { type: "json_schema", json_schema: { name: "city", schema } };
    return JSON.parse((await ask("as JSON", { response_format: format })).choices[0].message.content ?? "");
  },
  async new_limit() {
    const answer = await ask("answer with 900 words", { max_completion_tokens: 50 });
    return [answer.choices[0].finish_reason, answer.usage!.completion_tokens];
  },
  async fields() {
    const answer = await ask("hello", { n: 2, seed: 1, frequency_penalty: 0.5, logit_bias: {}, logprobs: true });
    return [answer.choices.length, Boolean(answer.choices[0].logprobs)];
  },
  async responses() {
    const answer = await client.responses.create({ model, input: "hello" });
    const types: string[] = [];
    let streamed = "";
    for await (const event of await client.responses.create({ model, input: "hello", stream: true })) {
      types.push(event.type);
      if (event.type === "response.output_text.delta") streamed += event.delta;
    }
    return [answer.output_text, answer.status, streamed, types.at(-1)];
  },
  async responses_memory() {
    const first = await client.responses.create({ model, input: "remember me" });
    return (await client.responses.create({ model, input: "and now", previous_response_id: first.id })).output_text;
  },
  async responses_stored() {
    const first = await client.responses.create({ model, input: "keep me" });
    return (await client.responses.retrieve(first.id)).output_text;
  },
  async other_apis() {
    const calls: Record<string, () => Promise<unknown>> = {
      embeddings: () => client.embeddings.create({ model, input: "embed me" }),
      files: () => client.files.list(),
      batches: () => client.batches.list(),
      speech: () => client.audio.speech.create({ model, voice: "alloy", input: "say" }),
      images: () => client.images.generate({ model, prompt: "paint" }),
      moderations: () => client.moderations.create({ input: "judge" }),
    };
    const ended: Record<string, string> = {};
    for (const [name, call] of Object.entries(calls)) {
      ended[name] = await call().then(() => "answered", (error: Error) => error.constructor.name);
    }
    return [ended];
  },
  async wrong_key() {
    const wrong = client.withOptions({ apiKey: "sk-wrong" });
    return (await wrong.chat.completions.create({ model, messages: user("x") })).id;
  },
  async unknown_model() {
    return (await client.chat.completions.create({ model: "gpt-17", messages: user("x") })).id;
  },
  async bad_request() {
    const messages = [{ role: "nobody", content: "x" }] as unknown as Messages;
    return (await client.chat.completions.create({ model, messages })).id;
  },
  // leaves a stream of many seconds after its first words, and asks again
  async interrupted() {
    const chunks = await client.chat.completions.create({
      model, messages: user("answer with 20000 words"), stream: true,
    });
    let role: string | undefined;
    for await (const chunk of chunks) {
      role = chunk.choices[0]?.delta.role;
      break;
    }
    return [role, (await ask("hello")).choices[0].message.content];
  },
};

async function attempt(name: string): Promise<unknown> {
  try {
    return await features[name]();
  } catch (error) {
    // whatever the client throws is what its user sees
    const thrown = error as Error & { status?: number; headers?: Headers };
    const retryAfter = thrown.headers?.get?.("retry-after") ?? null;
    const text = String(thrown.message);
    return { error: thrown.constructor.name, status: thrown.status ?? null, text, retry_after: retryAfter };
  }
}

// some features in turns until the file `end` is there; `begun` is made after the first round
async function repeat(begun: string, end: string): Promise<object> {
  const failures: object[] = [];
  let rounds = 0;
  while (!existsSync(end)) {
    for (const feature of ["text", "stream", "tools"]) {
      const found = await attempt(feature);
      if (!Array.isArray(found)) failures.push({ feature, at: Date.now() / 1000, ...(found as object) });
    }
    rounds += 1;
    writeFileSync(begun, "");
    // leaves the machine to the others
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return { rounds, failures };
}

const asked = process.argv.slice(2);
if (asked[0] === "--repeat") {
  console.log(JSON.stringify(await repeat(asked[1], asked[2])));
} else {
  const seen: Record<string, unknown> = {};
  for (const name of asked.length ? asked : Object.keys(features)) seen[name] = await attempt(name);
  console.log(JSON.stringify(seen));
}
