/** How long this disk takes to keep a write: a call waits for that twice, so figures mean little without it. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const WRITES = 200
const BYTES = 8192

/** Microseconds, median; in the folder where the ledger's file is put. */
export function syncTime(): number {
  const folder = mkdtempSync(join(tmpdir(), 'bursar-bench-'))
  const file = openSync(join(folder, 'sync'), 'w')
  const times: number[] = []
  for (let n = 0; n < WRITES; n++) {
    writeSync(file, Buffer.alloc(BYTES, n))
    const began = performance.now()
    fdatasyncSync(file)
    times.push((performance.now() - began) * 1000)
  }
  closeSync(file)
  rmSync(folder, { recursive: true })
  return Math.round(times.sort((a, b) => a - b)[WRITES / 2] ?? 0)
}
