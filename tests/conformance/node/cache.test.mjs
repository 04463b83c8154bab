// The official SDKs for Node.js read answers that are given again as they read answers of a model.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import {slowness, start, waitUntil} from './weir.mjs';

const MODEL = 'gpt-4o-mini';
const messages = (text) => [{role: 'user', content: text}];

let weir;
let openai;
let anthropic;

before(async () => {
  weir = await start('cache: {}\n');
  openai = new OpenAI({apiKey: 'unused', baseURL: weir.base + '/v1', maxRetries: 0, timeout: 30000 * slowness()});
  anthropic = new Anthropic({apiKey: 'unused', baseURL: weir.base, maxRetries: 0, timeout: 30000 * slowness()});
});
after(() => weir?.stop());

const said = (response) => response.headers.get('x-weir-cache');
const puts = async () => (await (await fetch(weir.admin + '/admin/cache')).json()).puts;

// Runs ask until its answer is in the cache; the first answer.
async function prime(ask) {
  const before = await puts();
  const first = await ask();
  await waitUntil(async () => (await puts()) > before, 5000, 'the answer to be kept');
  return first;
}

test('chat: a stream after a whole reply, and the other way round', async () => {
  const whole = (text) => openai.chat.completions.create({model: MODEL, messages: messages(text)});
  const streamed = async (text) => {
    const {data, response} = await openai.chat.completions.create(
      {model: MODEL, messages: messages(text), stream: true, stream_options: {include_usage: true}}).withResponse();
    let content = '', usage = null, finish = null;
    for await (const chunk of data) {
      content += chunk.choices[0]?.delta.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    return {content, usage, finish, cache: said(response)};
  };
  const first = await prime(() => whole('Who wrote Hamlet?'));
  const again = await streamed('Who wrote Hamlet?');
  assert.equal(again.cache, 'hit');
  assert.equal(again.content, first.choices[0].message.content);
  assert.equal(again.finish, 'stop');
  assert.equal(again.usage.total_tokens, first.usage.total_tokens);

  const live = await prime(() => streamed('Who wrote Faust?'));
  const {data, response} = await openai.chat.completions.create({model: MODEL, messages: messages('Who wrote Faust?')}).withResponse();
  assert.equal(said(response), 'hit');
  assert.equal(data.choices[0].message.content, live.content);
});

test('messages: a stream', async () => {
  const ask = async () => anthropic.messages.stream({model: MODEL, max_tokens: 200, messages: messages('Who wrote Emma?')}).finalMessage();
  const first = await prime(ask);
  const {data, response} = await anthropic.messages.create({model: MODEL, max_tokens: 200, messages: messages('Who wrote Emma?')}).withResponse();
  assert.equal(said(response), 'hit');
  assert.deepEqual(data.content, first.content);
  const again = await ask();
  assert.deepEqual(again.content, first.content);
  assert.equal(again.stop_reason, 'end_turn');
  assert.equal(again.usage.output_tokens, first.usage.output_tokens);
});

test('responses: a stream', async () => {
  const ask = async () => openai.responses.stream({model: MODEL, input: 'Who wrote Persuasion?'}).finalResponse();
  const first = await prime(ask);
  const again = await ask();
  assert.notEqual(again.id, first.id);
  assert.equal(again.output_text, first.output_text);
  assert.equal(again.status, 'completed');
});
