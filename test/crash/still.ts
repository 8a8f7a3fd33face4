/** Processes that the operating system has stopped. */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** Stops a process; resolves when it does not run any more. */
export async function standStill(child: ChildProcess): Promise<void> {
  child.kill('SIGSTOP')
  await isStill(child)
}

/** Resolves when a process has been stopped, or has ended. */
export async function isStill({ pid }: ChildProcess): Promise<void> {
  while (!/[TZ]/.test(stateOf(pid))) await delay(1)
}

/** One letter, and on some systems flags. The third field of stat, after a name in brackets: proc_pid_stat(5). */
function stateOf(pid: number | undefined): string {
  if (existsSync('/proc/self/stat')) {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? ''
  }
  return execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' })
}
