// The official anthropic and openai SDKs for Node.js, unmodified but for their base URL, over a server of each dialect.
// A title's end names what the test shows, for the table of ../matrix.py.
import assert from 'node:assert/strict';
import {after, before, beforeEach, test} from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import {betaZodTool} from '@anthropic-ai/sdk/helpers/beta/zod';
import {zodOutputFormat} from '@anthropic-ai/sdk/helpers/zod';
import OpenAI from 'openai';
import {zodResponseFormat} from 'openai/helpers/zod';
import {z} from 'zod';
import {slowness, start, waitUntil} from './weir.mjs';

const SERVERS = {openai: 'gpt-4o-mini', anthropic: 'claude-mini'}; // one model behind each dialect; the fleet's answers are the same
const HELLO = [{role: 'user', content: 'Say hello to the conformance test.'}];
const BOTH = [{role: 'user', content: 'The weather in Rome and the stock price of ACME, please.'}];
const parameters = (properties) => ({type: 'object', properties, required: Object.keys(properties), additionalProperties: false});
const WEATHER = {name: 'get_weather', description: 'The weather', input_schema: parameters({city: {type: 'string'}})};
const STOCK = {name: 'get_stock', description: 'The stock', input_schema: parameters({symbol: {type: 'string'}, count: {type: 'integer'}})};
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const openaiTool = (t) => ({type: 'function', function: {name: t.name, description: t.description, parameters: t.input_schema}});

let weir;
let locked; // the same with a tenant, whose key nobody here has
let claude;
let gpt;

before(async () => {
  [weir, locked] = await Promise.all([start(), start(`tenants:\n  acme: {keys: [{sha256: ${'a'.repeat(64)}}]}\n`)]);
  claude = new Anthropic({apiKey: 'unused', baseURL: weir.base, maxRetries: 0, timeout: 30000 * slowness()});
  gpt = new OpenAI({apiKey: 'unused', baseURL: weir.base + '/v1', maxRetries: 0, timeout: 30000 * slowness()});
});
after(() => Promise.all([weir?.stop(), locked?.stop()]));
beforeEach(() => weir.fleet.reset());

const inflight = async () => (await weir.fleet.get('/fleet/inflight')).length;
const said = (m) => [m.content.map(({id: _, ...block}) => ({type: block.type, text: block.text, name: block.name, input: block.input})), m.stop_reason];

for (const [dialect, model] of Object.entries(SERVERS)) {
  const message = (more = {}, options = {}) => claude.messages.create({model, max_tokens: 300, messages: HELLO, ...more}, options);
  const chat = (more = {}, options = {}) => gpt.chat.completions.create({model, messages: HELLO, ...more}, options);

  test(`anthropic over ${dialect}: message [chat]`, async () => {
    const reply = await message({system: 'Be brief.'});
    assert.equal(reply.type, 'message');
    assert.match(reply.content[0].text, /conformance/);
    assert.equal(reply.stop_reason, 'end_turn');
    assert.ok(reply.usage.input_tokens > 0 && reply.usage.output_tokens > 0);
  });

  for (const [what, more] of Object.entries({
    text: {}, limit: {max_tokens: 2}, 'parallel tools': {messages: BOTH, tools: [WEATHER, STOCK]},
    'one tool': {messages: BOTH, tools: [WEATHER, STOCK], tool_choice: {type: 'auto', disable_parallel_tool_use: true}},
  })) {
    test(`anthropic over ${dialect}: a stream accumulates to the whole answer: ${what} [stream]`, async () => {
      const whole = await message(more);
      const stream = claude.messages.stream({model, max_tokens: 300, messages: HELLO, ...more});
      const order = [];
      for await (const event of stream) order.push(event.type);
      assert.deepEqual(said(await stream.finalMessage()), said(whole));
      assert.equal(order[0], 'message_start');
      assert.deepEqual(order.slice(-2), ['message_delta', 'message_stop']);
    });
  }

  test(`anthropic over ${dialect}: tool results [tools parallel]`, async () => {
    const reply = await message({messages: BOTH, tools: [WEATHER, STOCK]});
    const calls = reply.content.filter((b) => b.type === 'tool_use');
    assert.deepEqual(calls.map((c) => c.name).sort(), ['get_stock', 'get_weather']);
    const final = await message({tools: [WEATHER, STOCK], messages: [...BOTH, {role: 'assistant', content: reply.content},
      {role: 'user', content: calls.map((c) => ({type: 'tool_result', tool_use_id: c.id, content: '42'}))}]});
    assert.equal(final.stop_reason, 'end_turn');
  });

  test(`anthropic over ${dialect}: structured output parsed with zod [structured]`, async () => {
    const Event = z.object({name: z.string(), day: z.number().int(), guests: z.array(z.string())});
    const reply = await claude.messages.parse({model, max_tokens: 300, messages: HELLO, output_config: {format: zodOutputFormat(Event)}});
    assert.ok(Event.parse(reply.parsed_output));
  });

  test(`anthropic over ${dialect}: image [images]`, async () => {
    const reply = await message({messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'},
      {type: 'image', source: {type: 'base64', media_type: 'image/png', data: PIXEL}}]}]});
    assert.ok(reply.content[0].text && reply.usage.input_tokens > 85);
  });

  test(`anthropic over ${dialect}: count_tokens and models [count]`, async () => {
    assert.ok((await claude.messages.countTokens({model, messages: HELLO})).input_tokens > 0);
    const ids = [];
    for await (const m of claude.models.list()) ids.push(m.id);
    assert.ok(ids.includes(model));
    assert.equal((await claude.models.retrieve(model)).type, 'model');
  });

  for (const [kind, error, words] of [
    [{kind: '429', retry_after_s: 60}, Anthropic.RateLimitError, ''], [{kind: '529'}, Anthropic.InternalServerError, ''],
    [{kind: '500'}, Anthropic.InternalServerError, ''], [{kind: 'context_length'}, Anthropic.BadRequestError, 'prompt is too long'],
  ]) {
    test(`anthropic over ${dialect}: typed error: ${kind.kind} [400 429 5xx]`, async () => {
      await weir.fleet.faults([kind]);
      await assert.rejects(message(), (e) => {
        assert.ok(e instanceof error, `${e.constructor.name}: ${e.message}`);
        assert.equal(e.error.type, 'error');
        assert.ok(e.requestID && e.message.includes(words));
        if (kind.retry_after_s) assert.equal(e.headers.get('retry-after'), '60');
        return true;
      });
    });
  }

  for (const kind of ['cut', 'reset_mid_body', 'malformed_chunk', 'error_event']) {
    test(`anthropic over ${dialect}: a stream that is not whole throws: ${kind}`, async () => {
      await weir.fleet.faults([{kind, after: 5}]);
      await assert.rejects(claude.messages.stream({model, max_tokens: 300, messages: HELLO}).finalMessage(), Anthropic.AnthropicError);
    });
  }

  const sdks = {anthropic: {SDK: Anthropic, ask: message, base: ''}, openai: {SDK: OpenAI, ask: chat, base: '/v1'}};
  const cancels = async ({SDK, ask}) => {
    await weir.fleet.faults([{kind: 'slow_chunks', delay_ms: 200}]);
    for await (const event of await ask({stream: true})) {
      void event;
      break; // the SDK aborts the request
    }
    await waitUntil(async () => !(await inflight()), 5000, 'the fleet to see the abort');
    await weir.fleet.faults([{kind: 'silence'}]);
    const controller = new AbortController();
    const pending = assert.rejects(ask({}, {signal: controller.signal}), SDK.APIUserAbortError);
    await waitUntil(inflight, 5000, 'the request to reach the fleet');
    controller.abort();
    await pending;
    await waitUntil(async () => !(await inflight()), 5000, 'the fleet to see the abort');
  };
  test(`anthropic over ${dialect}: cancelling, before the first byte and in mid-stream [cancel]`, () => cancels(sdks.anthropic));
  test(`openai over ${dialect}: cancelling, before the first byte and in mid-stream [cancel]`, () => cancels(sdks.openai));

  const retries = async ({ask}) => {
    await weir.fleet.faults([{kind: '429', times: 2, retry_after_ms: 600}]);
    const began = performance.now();
    assert.ok(await ask({}, {maxRetries: 3}));
    assert.ok(performance.now() - began > 500);
  };
  test(`anthropic over ${dialect}: the SDK retries as weir tells it [retry]`, () => retries(sdks.anthropic));
  test(`openai over ${dialect}: the SDK retries as weir tells it [retry]`, () => retries(sdks.openai));

  const refuses = async ({SDK, ask, base}) => {
    const stranger = new SDK({apiKey: 'sk-wrong', baseURL: locked.base + base, maxRetries: 0});
    const asked = SDK === OpenAI ? stranger.chat.completions.create({model, messages: HELLO})
      : stranger.messages.create({model, max_tokens: 9, messages: HELLO});
    await assert.rejects(asked, SDK.AuthenticationError);
    await assert.rejects(ask({model: 'no-such-model'}), (e) => e instanceof SDK.NotFoundError && e.message.includes('no-such-model'));
    await weir.fleet.faults([{kind: 'status', status: 403}]); // the gateway's own key is refused: not the client's fault
    await assert.rejects(ask(), (e) => e instanceof SDK.InternalServerError && e.message.includes('credentials'));
  };
  test(`anthropic over ${dialect}: a wrong key, no such model, a server that refuses [401 403 404]`, () => refuses(sdks.anthropic));
  test(`openai over ${dialect}: a wrong key, no such model, a server that refuses [401 403 404]`, () => refuses(sdks.openai));

  test(`anthropic over ${dialect}: the SDK's own loop does without a thread`, async () => {
    const run = async () => '21 degrees';
    const tool = betaZodTool({name: 'get_weather', description: 'The weather', inputSchema: z.object({city: z.string()}), run});
    const turns = [];
    const messages = [{role: 'user', content: 'What is the weather in Paris?'}];
    for await (const turn of claude.beta.messages.toolRunner({model, max_tokens: 300, messages, tools: [tool]})) turns.push(turn.stop_reason);
    assert.deepEqual(turns, ['tool_use', 'end_turn']);
  });

  test(`openai over ${dialect}: structured output and an image [structured images]`, async () => {
    const Event = z.object({name: z.string(), day: z.number().int(), guests: z.array(z.string())});
    const reply = await gpt.chat.completions.parse({model, messages: HELLO, response_format: zodResponseFormat(Event, 'event')});
    assert.ok(Event.parse(reply.choices[0].message.parsed));
    const image = {type: 'image_url', image_url: {url: `data:image/png;base64,${PIXEL}`}};
    assert.ok((await chat({messages: [{role: 'user', content: [{type: 'text', text: 'What is it?'}, image]}]})).usage.prompt_tokens > 85);
  });

  for (const [kind, error] of [['context_length', OpenAI.BadRequestError], ['429', OpenAI.RateLimitError], ['500', OpenAI.InternalServerError],
    ['529', OpenAI.InternalServerError]]) {
    test(`openai over ${dialect}: typed error: ${kind} [400 429 5xx]`, async () => {
      await weir.fleet.faults([{kind, retry_after_s: 60}]);
      await assert.rejects(chat(), (e) => e instanceof error && e.requestID && (kind !== '429' || e.headers.get('retry-after') === '60'));
    });
  }

  test(`openai over ${dialect}: chat, its stream and tools [chat stream tools parallel]`, async () => {
    const ask = {messages: BOTH, tools: [WEATHER, STOCK].map(openaiTool)};
    const whole = (await chat(ask)).choices[0];
    const streamed = (await gpt.chat.completions.stream({model, ...ask}).finalChatCompletion()).choices[0];
    const calls = (choice) => choice.message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]);
    assert.equal(whole.finish_reason, 'tool_calls');
    assert.deepEqual(calls(streamed), calls(whole));
    const final = await chat({...ask, messages: [...BOTH, whole.message,
      ...whole.message.tool_calls.map((c) => ({role: 'tool', tool_call_id: c.id, content: '42'}))]});
    assert.equal(final.choices[0].finish_reason, 'stop');
  });

  test(`openai over ${dialect}: responses, whole and streamed [responses]`, async () => {
    const ask = {model, input: BOTH, tools: [WEATHER, STOCK].map((t) => ({type: 'function', strict: false, ...openaiTool(t).function}))};
    const whole = await gpt.responses.create(ask);
    const events = [];
    for await (const event of await gpt.responses.create({...ask, stream: true})) events.push(event);
    assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
    assert.equal(events.at(-1).type, 'response.completed');
    const calls = (r) => r.output.filter((o) => o.type === 'function_call').map((o) => [o.name, JSON.parse(o.arguments)]);
    assert.equal(calls(whole).length, 2);
    assert.deepEqual(calls(events.at(-1).response), calls(whole));
    assert.match((await gpt.responses.create({model, input: 'hello'})).output_text, /hello/);
    await assert.rejects(gpt.responses.create({model, input: 'x', previous_response_id: 'resp_1'}),
      (e) => e instanceof OpenAI.BadRequestError && e.param === 'previous_response_id');
  });
}

test('openai over anthropic: what cannot be said is refused by name', async () => {
  for (const [member, value] of Object.entries({n: 2, logprobs: true, seed: 7})) {
    await assert.rejects(gpt.chat.completions.create({model: SERVERS.anthropic, messages: HELLO, [member]: value}),
      (e) => e instanceof OpenAI.BadRequestError && e.param === member);
  }
});
