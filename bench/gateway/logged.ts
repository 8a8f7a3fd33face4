/**
 * The least that a gateway can do which writes down what it does: the pass-through, and two lines of a log that is
 * synced, one before a call is sent and one before its answer ends. It checks nobody, bounds nothing, prices nothing and
 * has no balance: whoever keeps a ledger costs more. Second argument: the log.
 */
import { fdatasyncSync, openSync, writeSync } from 'node:fs'
import { serve, writeHead } from './plain.ts'

/** Written beforehand, and then over and over: a file that grows takes longer to sync. */
const LOG_BYTES = 64 * 1024 * 1024

const append = openLog(process.argv[3] ?? '')
let calls = 0

serve(async (ask, response) => {
  const call = calls++
  await append({ call, entry: 'hold', microCredits: 1_000 })
  const answer = await ask()
  const capture = { call, entry: 'capture', microCredits: 500 }
  if (answer.headers['content-length'] !== undefined) {
    const whole = Buffer.from(await answer.body.arrayBuffer())
    await append(capture)
    writeHead(response, answer).end(whole)
    return
  }
  answer.body.pipe(writeHead(response, answer), { end: false })
  answer.body.on('end', () => void append(capture).then(() => response.end()))
})

/** Lines that arrive in one turn of the event loop share a sync, made here: to wait for a thread would take longer. */
function openLog(path: string): (line: object) => Promise<void> {
  const file = openSync(path, 'w')
  writeSync(file, Buffer.alloc(LOG_BYTES))
  fdatasyncSync(file)
  let lines: string[] = []
  let callers: (() => void)[] = []
  let at = 0

  function flush(): void {
    const bytes = Buffer.from(lines.join(''))
    const written = callers
    lines = []
    callers = []
    if (at + bytes.length > LOG_BYTES) at = 0
    writeSync(file, bytes, 0, bytes.length, at)
    at += bytes.length
    fdatasyncSync(file)
    for (const resolve of written) resolve()
  }

  return (line) =>
    new Promise((resolve) => {
      if (lines.length === 0) setImmediate(flush)
      lines.push(`${JSON.stringify(line)}\n`)
      callers.push(resolve)
    })
}
