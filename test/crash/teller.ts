/** Starts a teller (children/teller.ts) and talks to it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Life } from './lives.ts'

export type TellerCommand =
  /** Amounts in micro-credits; `lapseMicro` is charged when the hold never gets an outcome. */
  | {
      readonly kind: 'hold'
      readonly account: string
      readonly key: string
      readonly micro: string
      readonly lapseMicro: string
    }
  | { readonly kind: 'capture'; readonly account: string; readonly ref: string; readonly micro: string }
  | { readonly kind: 'release'; readonly account: string; readonly ref: string }

export interface TellerAnswer {
  readonly ref: string
  readonly charged: string
}

export interface Teller {
  /** Rejects with the code of the refusal, or never answers when the process dies. */
  ask(command: TellerCommand): Promise<TellerAnswer>
}

const SCRIPT = fileURLToPath(new URL('children/teller.ts', import.meta.url))

interface Line {
  readonly ready?: true
  readonly id: number
  readonly answer?: TellerAnswer
  readonly refused?: string
}

export class Refused extends Error {
  readonly code: string
  constructor(code: string) {
    super(`refused: ${code}`)
    this.code = code
  }
}

export function startTeller(url: string, nodeArgs: readonly string[], env: NodeJS.ProcessEnv): Life<Teller> {
  const child = spawn(process.execPath, [...nodeArgs, SCRIPT, url], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.on('error', () => undefined)
  const waiting = new Map<number, (line: Line) => void>()
  let asked = 0
  const teller: Teller = {
    ask: (command) =>
      new Promise((resolve, reject) => {
        const id = ++asked
        waiting.set(id, ({ answer, refused }) => {
          waiting.delete(id)
          if (answer) resolve(answer)
          else reject(new Refused(refused ?? 'no answer'))
        })
        child.stdin.write(`${JSON.stringify({ id, ...command })}\n`)
      }),
  }
  const ready = new Promise<Teller>((resolve) => {
    createInterface(child.stdout).on('line', (text) => {
      const line = JSON.parse(text) as Line
      if (line.ready) resolve(teller)
      else waiting.get(line.id)?.(line)
    })
  })
  return { child, ready, ended: once(child, 'exit').then(() => undefined) }
}
