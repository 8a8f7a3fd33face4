/** Installs what the benchmarks compare with into bench/node_modules, by bench/package-lock.json. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))

/** Does nothing when the package is there. npm's own output goes to stderr. */
export async function install(name: string): Promise<void> {
  if (existsSync(join(folder, 'node_modules', name, 'package.json'))) return
  console.error(`Installing ${name} into bench/node_modules (npm ci in bench) ...`)
  // The Node that runs this comes first: native packages are built for it.
  const path = [dirname(process.execPath), process.env['PATH']].join(delimiter)
  const npm = spawn('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: folder,
    env: { ...process.env, PATH: path },
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  const [code] = (await once(npm, 'close')) as [number]
  if (code !== 0) throw new Error(`npm ci in ${folder} ended with ${code}.`)
}
