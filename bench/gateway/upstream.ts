/** The trivial upstream: a fixed chat completion with its usage, whole or as a stream. Prints `listening PORT`. */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const usage = { prompt_tokens: 40, completion_tokens: 12, total_tokens: 52 }
const head = { id: 'chatcmpl-bench', created: 1_764_000_000, model: 'bench-upstream' }
const text = 'The quick brown fox jumps over the lazy dog.'

const whole = Buffer.from(
  JSON.stringify({
    ...head,
    object: 'chat.completion',
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
    usage,
  }),
)
const wholeHeaders = { 'content-type': 'application/json', 'content-length': whole.length }

const events = [
  ...text.split(/(?= )/).map((content) => chunk({ choices: [choice({ content }, null)] })),
  chunk({ choices: [choice({}, 'stop')] }),
  chunk({ choices: [], usage }),
  Buffer.from('data: [DONE]\n\n'),
]
const streamHeaders = { 'content-type': 'text/event-stream; charset=utf-8' }

function choice(delta: object, finish: string | null): object {
  return { index: 0, delta, finish_reason: finish }
}

function chunk(members: object): Buffer {
  return Buffer.from(`data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', ...members })}\n\n`)
}

/** Each event in a turn of its own, as tokens come. */
function stream(response: ServerResponse, next = 0): void {
  response.write(events[next])
  if (next + 1 === events.length) response.end()
  else setImmediate(stream, response, next + 1)
}

const server = createServer((request, response) => {
  let body = ''
  request.on('data', (piece: Buffer) => {
    body += piece.toString('latin1')
  })
  request.on('end', () => {
    if (body.includes('"stream":true')) stream(response.writeHead(200, streamHeaders))
    else response.writeHead(200, wholeHeaders).end(whole)
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  console.log(`listening ${(server.address() as AddressInfo).port}`)
})
