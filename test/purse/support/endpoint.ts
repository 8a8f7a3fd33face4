/** An endpoint between a purse and its chain: it can go silent, lose answers, refuse, and tell what was asked. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Question {
  readonly method: string
  readonly params: readonly unknown[]
}

/** `pass`: to the chain and back. `lose`: to the chain, without an answer. `drop`: neither. Or an answer of its own. */
export type Treatment =
  | 'pass'
  | 'lose'
  | 'drop'
  | { readonly error: { code: number; message: string } }
  | { readonly result: unknown }

export interface Endpoint {
  readonly url: string
  /** Everything that was asked, oldest first. */
  readonly asked: Question[]
  /** What happens to each question from now on. */
  treat(treatment: (question: Question) => Treatment | Promise<Treatment>): void
  close(): Promise<void>
}

export async function startEndpoint(chain: string): Promise<Endpoint> {
  const asked: Question[] = []
  let treatment: (question: Question) => Treatment | Promise<Treatment> = () => 'pass'
  async function handle(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const body = await textOf(incoming)
    const question = JSON.parse(body) as Question & { id: number }
    asked.push({ method: question.method, params: question.params })
    const how = await treatment(question)
    if (typeof how === 'object') {
      answer.end(JSON.stringify({ jsonrpc: '2.0', id: question.id, ...how }))
      return
    }
    let text = ''
    if (how !== 'drop') {
      const headers = { 'content-type': 'application/json' }
      text = await (await fetch(chain, { method: 'POST', headers, body })).text()
    }
    if (how === 'pass') answer.setHeader('content-type', 'application/json').end(text)
    else incoming.socket.destroy()
  }
  const server = createServer((incoming, answer) => {
    handle(incoming, answer).catch(() => incoming.socket.destroy())
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    treat: (next) => {
      treatment = next
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Treats one method in its own way and lets everything else pass. */
export function only(method: string, treatment: Treatment): (question: Question) => Treatment {
  return (question) => (question.method === method ? treatment : 'pass')
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of incoming) text += String(chunk)
  return text
}
