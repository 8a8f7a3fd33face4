/** Portkey's gateway from npm, in a folder of its own: no part of Bursar's dependencies. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('peer/', import.meta.url))

/** Installs it where it is missing, from the lock beside it; says so. */
export function portkeyProgram(): string {
  const program = `${folder}node_modules/@portkey-ai/gateway/build/start-server.js`
  if (existsSync(program)) return program
  console.error('installing @portkey-ai/gateway 1.15.2 into bench/gateway/peer (npm ci)')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) throw new Error('npm ci failed in bench/gateway/peer.')
  return program
}
