/** Which processes there are: what a test leaves behind must be nothing. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { PATIENCE_MS } from './patience.ts'

interface Entry {
  readonly pid: number
  readonly parent: number
}

export function childrenOf(pid: number): number[] {
  return processes().flatMap((entry) => (entry.parent === pid ? [entry.pid] : []))
}

export function alive(pid: number): boolean {
  return processes().some((entry) => entry.pid === pid)
}

/** Resolves when none of them is left. They are no children of this process, so it has to look. */
export async function gone(...pids: readonly number[]): Promise<void> {
  await expect
    .poll(() => pids.filter((pid) => alive(pid)), { timeout: PATIENCE_MS, interval: 50 })
    .toEqual([])
}

/** Those that have ended and wait for somebody to ask how (zombies) do not count. */
function processes(): Entry[] {
  const lines = existsSync('/proc/self/stat')
    ? readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? [statOf(name)] : []))
    : execFileSync('ps', ['-A', '-o', 'pid=,stat=,ppid='], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => {
    const [pid, state = 'Z', parent] = line.trim().split(/\s+/)
    return state.startsWith('Z') ? [] : [{ pid: Number(pid), parent: Number(parent) }]
  })
}

/** `pid state ppid`, or nothing when it ended meanwhile. proc(5): the name between may hold spaces and brackets. */
function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/ \(.*\)/s, '')
  } catch {
    return ''
  }
}
