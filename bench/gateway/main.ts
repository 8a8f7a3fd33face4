/**
 * `npm run bench -- gateway`: what a gateway costs. One trivial upstream and one load, asked directly, through a bare
 * pass-through, through Portkey's gateway and through Bursar with its durable ledger; all in one run, in turns.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { syncTime } from './disk.ts'
import type { Job, Measured } from './load.ts'
import { measureMemory } from './memory.ts'
import { type Measurements, report } from './report.ts'
import type { Case, Sample } from './rows.ts'
import {
  type Load,
  MODEL,
  startTarget,
  startUpstream,
  TARGETS,
  type Target,
  type TargetName,
} from './targets.ts'

const WARM_UP_MS = 300
/** Before the first round: compilers and caches. */
const FIRST_MS = 1500

const usage = `npm run bench -- gateway [--quick] [--json] [--memory] [--rounds N] [--seconds N]
  [--connections 1,32,256] [--modes whole,streamed] [--targets ${TARGETS.join(',')}]`

interface Plan {
  readonly rounds: number
  readonly ms: number
  readonly connections: readonly number[]
  readonly modes: readonly Case['mode'][]
  readonly targets: readonly TargetName[]
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      memory: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      connections: { type: 'string', default: '1,32,256' },
      modes: { type: 'string', default: 'whole,streamed' },
      targets: { type: 'string', default: TARGETS.join(',') },
    },
  })
  if (values.help) return console.log(usage)
  const upstream = await startUpstream()
  const load = startLoad()
  try {
    if (values.memory) {
      await measureMemory(await startTarget('bursar', upstream.port), load.ask, values)
      return
    }
    const plan: Plan = {
      rounds: Number(values.rounds ?? (values.quick ? 1 : 5)),
      ms: Number(values.seconds ?? (values.quick ? 1 : 3)) * 1000,
      connections: values.connections.split(',').map(Number),
      modes: values.modes.split(',') as Case['mode'][],
      targets: values.targets.split(',') as TargetName[],
    }
    const result = report(await measure(plan, upstream.port, load.ask))
    console.log(values.json ? JSON.stringify(result.json, null, 2) : result.text)
  } finally {
    load.stop()
    await upstream.stop()
  }
}

async function measure(plan: Plan, upstreamPort: number, ask: Load): Promise<Measurements> {
  const targets: Target[] = []
  const before = syncTime()
  try {
    for (const name of plan.targets) targets.push(await startTarget(name, upstreamPort))
    const samples: Sample[] = []
    let total = 0
    const one = async (target: Target, { mode, connections }: Case, warmUpMs: number, ms: number) => {
      const before = target.cpu()
      const measured = await ask(target, { connections, warmUpMs, ms, streamed: mode === 'streamed' })
      if (measured.failed > 0) {
        const said = target.output?.().slice(-1000) ?? ''
        throw new Error(`${target.name}: ${measured.failed} failed: ${measured.failure}
${said}`)
      }
      if (target.name === 'bursar') total += measured.total
      const used = target.cpu()
      const cpu = used === null || before === null ? null : (used - before) / Math.max(1, measured.total)
      return { ...measured, cpu }
    }
    const cases = plan.modes.flatMap((mode) => plan.connections.map((connections) => ({ mode, connections })))
    for (const each of cases) for (const target of targets) await one(target, each, 0, FIRST_MS)
    for (let round = 0; round < plan.rounds; round++) {
      for (const each of cases) {
        for (const target of targets) {
          samples.push({ ...each, target: target.name, ...(await one(target, each, WARM_UP_MS, plan.ms)) })
        }
      }
    }
    const books = await targets.find(({ books }) => books)?.books?.()
    return {
      samples,
      books: books ? { ...books, answers: total } : null,
      sync: [before, syncTime()],
      rounds: plan.rounds,
      ms: plan.ms,
    }
  } finally {
    for (const target of targets) await target.stop()
  }
}

function startLoad(): { ask: Load; stop(): void } {
  const child = fork(fileURLToPath(new URL('load.ts', import.meta.url)))
  return {
    ask(target, job) {
      const { promise, resolve, reject } = Promise.withResolvers<Measured>()
      const gone = () => reject(new Error('The load has ended.'))
      child.once('exit', gone)
      child.once('message', (measured: Measured) => {
        child.off('exit', gone)
        resolve(measured)
      })
      child.send({
        ...job,
        port: target.port,
        path: '/v1/chat/completions',
        headers: target.headers,
        body: requestBody(job.streamed),
      } satisfies Job)
      return promise
    },
    stop: () => child.disconnect(),
  }
}

function requestBody(streamed: boolean): string {
  return JSON.stringify({
    model: MODEL,
    messages: [
      { role: 'system', content: 'You are a helpful assistant. Answer in one short sentence.' },
      { role: 'user', content: 'Which animal jumps over the lazy dog, and what colour does it have?' },
    ],
    max_tokens: 64,
    temperature: 0.2,
    ...(streamed ? { stream: true } : {}),
  })
}
