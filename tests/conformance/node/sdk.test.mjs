// The official openai SDK for Node.js, unmodified, with nothing changed but its base URL, through weir to the fleet.
import assert from 'node:assert/strict';
import {after, before, beforeEach, test} from 'node:test';
import OpenAI from 'openai';
import {zodResponseFormat} from 'openai/helpers/zod';
import {z} from 'zod';
import {slowness, start, waitUntil} from './weir.mjs';

const MODEL = 'gpt-4o-mini';
const HELLO = [{role: 'user', content: 'Say hello to the conformance test.'}];
const tool = (name, properties) => ({type: 'function', function: {name, description: `The ${name}`, parameters: {
  type: 'object', properties, required: Object.keys(properties), additionalProperties: false}}});
const WEATHER = tool('get_weather', {city: {type: 'string'}});
const STOCK = tool('get_stock', {symbol: {type: 'string'}, count: {type: 'integer'}});
const BOTH = [{role: 'user', content: 'The weather in Rome and the stock price of ACME, please.'}];

let weir;
let client;

before(async () => {
  weir = await start();
  client = new OpenAI({apiKey: 'unused', baseURL: weir.base + '/v1', maxRetries: 0, timeout: 30000 * slowness()});
});
after(() => weir?.stop());
beforeEach(() => weir.fleet.reset());

const chat = (more = {}, options = {}) => client.chat.completions.create({model: MODEL, messages: HELLO, ...more}, options);
const inflight = async () => (await weir.fleet.get('/fleet/inflight')).length;

test('chat', async () => {
  const reply = await chat();
  assert.equal(reply.object, 'chat.completion');
  assert.ok(reply.choices[0].message.content);
  assert.equal(reply.choices[0].finish_reason, 'stop');
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
});

test('base URL without /v1', async () => {
  const bare = new OpenAI({apiKey: 'unused', baseURL: weir.base, maxRetries: 0});
  assert.ok((await bare.chat.completions.create({model: MODEL, messages: HELLO})).choices[0].message.content);
});

test('headers name what served', async () => {
  const {data, response, request_id: requestId} = await chat({model: 'auto'}).withResponse();
  assert.equal(response.headers.get('x-weir-model'), MODEL);
  assert.equal(response.headers.get('x-weir-route'), 'chat');
  assert.equal(response.headers.get('x-request-id'), requestId);
  assert.equal(data._request_id, requestId);
  const expected = (data.usage.prompt_tokens * 1 + data.usage.completion_tokens * 2) / 1e6;
  assert.ok(Math.abs(Number(response.headers.get('x-weir-cost-usd')) - expected) < 1e-9);
});

test('streaming', async () => {
  const whole = await chat();
  let text = '';
  const reasons = [];
  for await (const chunk of await chat({stream: true})) {
    text += chunk.choices[0].delta.content ?? '';
    reasons.push(chunk.choices[0].finish_reason);
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(reasons.at(-1), 'stop');
});

test('streaming with usage', async () => {
  const chunks = [];
  for await (const chunk of await chat({stream: true, stream_options: {include_usage: true}})) chunks.push(chunk);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

test('stream helper accumulates', async () => {
  const stream = client.chat.completions.stream({model: MODEL, messages: HELLO});
  const final = await stream.finalChatCompletion();
  assert.ok(final.choices[0].message.content);
});

test('several choices and logprobs', async () => {
  const reply = await chat({n: 2, logprobs: true, top_logprobs: 1});
  assert.deepEqual(reply.choices.map((c) => c.index), [0, 1]);
  assert.ok(reply.choices[0].logprobs.content.length > 0);
});

test('a tool call and its answer', async () => {
  const messages = [{role: 'user', content: 'What is the weather in Paris?'}];
  const reply = await chat({messages, tools: [WEATHER]});
  assert.equal(reply.choices[0].finish_reason, 'tool_calls');
  const [call] = reply.choices[0].message.tool_calls;
  assert.equal(typeof JSON.parse(call.function.arguments).city, 'string');
  const final = await chat({tools: [WEATHER], messages: [...messages, reply.choices[0].message,
    {role: 'tool', tool_call_id: call.id, content: '{"temperature": 21}'}]});
  assert.equal(final.choices[0].finish_reason, 'stop');
});

test('streamed parallel tool calls', async () => {
  const stream = client.chat.completions.stream({model: MODEL, messages: BOTH, tools: [WEATHER, STOCK]});
  const calls = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  assert.deepEqual(calls.map((c) => c.function.name).sort(), ['get_stock', 'get_weather']);
  for (const call of calls) assert.ok(JSON.parse(call.function.arguments));
});

test('structured output parsed with zod', async () => {
  const Event = z.object({name: z.string(), day: z.number().int(), guests: z.array(z.string()), open: z.boolean()});
  const reply = await client.chat.completions.parse({model: MODEL, messages: HELLO, response_format: zodResponseFormat(Event, 'event')});
  assert.ok(Event.parse(reply.choices[0].message.parsed));
});

test('images', async () => {
  const url = 'data:image/png;base64,' + Buffer.alloc(200).toString('base64');
  const reply = await chat({messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'}, {type: 'image_url', image_url: {url}}]}]});
  assert.ok(reply.choices[0].message.content);
});

test('embeddings as floats and as base64', async () => {
  const input = ['the first text', 'the second text'];
  const floats = await client.embeddings.create({model: 'text-embedding-3-small', input, encoding_format: 'float'});
  const byDefault = await client.embeddings.create({model: 'text-embedding-3-small', input}); // base64 on the wire
  assert.equal(floats.data.length, 2);
  floats.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - byDefault.data[0].embedding[i]) < 1e-6));
});

test('models', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes('auto') && ids.includes(MODEL));
  assert.equal((await client.models.retrieve('auto')).id, 'auto');
});

test('text completions', async () => {
  assert.ok((await client.completions.create({model: MODEL, prompt: 'Once upon a time', max_tokens: 20})).choices[0].text);
});

for (const [kind, error, check] of [
  [{kind: '429', retry_after_s: 60}, OpenAI.RateLimitError, (e) => assert.equal(e.headers.get('retry-after'), '60')],
  [{kind: '500'}, OpenAI.InternalServerError, (e) => assert.ok(e.status >= 500)],
  [{kind: 'context_length'}, OpenAI.BadRequestError, (e) => assert.equal(e.code, 'context_length_exceeded')],
  [{kind: 'content_filter'}, OpenAI.BadRequestError, (e) => assert.equal(e.code, 'content_filter')],
]) {
  test(`typed error: ${kind.kind}`, async () => {
    await weir.fleet.faults([kind]);
    await assert.rejects(chat(), (e) => {
      assert.ok(e instanceof error, `${e.constructor.name}: ${e.message}`);
      assert.ok(e.requestID);
      check(e);
      return true;
    });
  });
}

test('typed error: a model that is not there', async () => {
  await assert.rejects(chat({model: 'gpt-nonexistent'}), (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
});

test('typed error: time-out', async () => {
  await weir.fleet.faults([{kind: 'silence'}]);
  await assert.rejects(chat({}, {timeout: 500}), OpenAI.APIConnectionTimeoutError);
  await waitUntil(async () => !(await inflight()), 5000, 'the fleet to see the abort');
});

test('typed error: nobody there', async () => {
  const nowhere = new OpenAI({apiKey: 'x', baseURL: 'http://127.0.0.1:9/v1', maxRetries: 0});
  await assert.rejects(nowhere.models.list(), OpenAI.APIConnectionError);
});

for (const kind of ['cut', 'reset_mid_body', 'malformed_chunk', 'error_event']) {
  test(`a stream that is not whole throws: ${kind}`, async () => {
    await weir.fleet.faults([{kind, after: 2}]);
    await assert.rejects(async () => {
      for await (const chunk of await chat({stream: true})) void chunk;
    }, OpenAI.APIError);
  });
}

test('cancel in mid-stream reaches the model', async () => {
  await weir.fleet.faults([{kind: 'slow_chunks', delay_ms: 200}]);
  const stream = await chat({stream: true});
  for await (const chunk of stream) {
    void chunk;
    break; // the SDK aborts the request
  }
  await waitUntil(async () => !(await inflight()), 2000, 'the fleet to see the abort');
});

test('cancel before the first byte reaches the model', async () => {
  await weir.fleet.faults([{kind: 'silence'}]);
  const controller = new AbortController();
  const pending = assert.rejects(chat({}, {signal: controller.signal}), OpenAI.APIUserAbortError);
  await waitUntil(inflight, 5000, 'the request to reach the fleet');
  controller.abort();
  await pending;
  await waitUntil(async () => !(await inflight()), 2000, 'the fleet to see the abort');
});

test('the SDK retries as weir tells it', async () => {
  await weir.fleet.faults([{kind: '429', nth: [1, 2], retry_after_ms: 700}]);
  const patient = new OpenAI({apiKey: 'unused', baseURL: weir.base + '/v1', maxRetries: 2});
  const began = performance.now();
  assert.ok((await patient.chat.completions.create({model: MODEL, messages: HELLO})).choices.length);
  assert.ok(performance.now() - began > 600);
});

test('many at once', async () => {
  const replies = await Promise.all(Array.from({length: 64}, (_, i) => chat({messages: [{role: 'user', content: `number ${i}`}]})));
  assert.equal(new Set(replies.map((r) => r.id)).size, 64);
});
