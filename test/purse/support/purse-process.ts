/** `bursar purse` without the command line: arguments are a configuration's file, a data folder, and `--child`. */
import { readFileSync } from 'node:fs'
import { runPurse } from '../../../src/purse/main.ts'
import { systemRuntime } from '../../../src/runtime.ts'
import { now, settingsOf } from './fixture.ts'

const [file, dataDir, child] = process.argv.slice(2)
if (file === undefined || dataDir === undefined) throw new Error('arguments: configuration, data folder')
const ending = new AbortController()
process.once('SIGTERM', () => ending.abort())
try {
  await runPurse({
    settings: settingsOf(JSON.parse(readFileSync(file, 'utf8')) as object, dataDir),
    runtime: { ...systemRuntime(child === '--child' ? 'error' : 'debug'), now },
    signal: ending.signal,
    report: (event) => process.stderr.write(`${JSON.stringify(event)}\n`),
    ...(child === '--child' ? { parent: process.stdin } : {}),
  })
} catch {
  process.exitCode = 3
}
