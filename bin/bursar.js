#!/usr/bin/env node
// Plain JavaScript that any Node since 14 can read: MCP hosts start whatever `node` the system has.
// A checkout runs its TypeScript sources, an installed package what `tsc` made of them.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const needed = [22, 19]
const here = process.versions.node.split('.').map(Number)
const recent = here[0] > needed[0] || (here[0] === needed[0] && here[1] >= needed[1])

const source = new URL('../src/cli.ts', import.meta.url)
const built = new URL('../dist/src/cli.js', import.meta.url)
const ownNode = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))

if (recent) {
  await import((existsSync(source) ? source : built).href)
} else if (existsSync(ownNode)) {
  const child = spawn(ownNode, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(signal ? 1 : code))
} else {
  process.stderr.write(
    `bursar needs Node ${needed.join('.')} or newer, this is ${process.versions.node}: install a newer one, or give its full path as the command.\n`,
  )
  process.exit(1)
}
