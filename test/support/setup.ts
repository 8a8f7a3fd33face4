/**
 * Installs what the tests need and the root `npm ci` does not bring. A Bitcoin node: on Debian, as root, by itself;
 * elsewhere it prints the command. Claude Code and Codex: from npm, into a folder of their own. Tests that miss theirs
 * then say so and are skipped, in CI they fail.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const litecoind = ['/usr/lib/litecoin/litecoind', '/usr/bin/litecoind']
const needed = [
  {
    what: 'a Bitcoin regtest node',
    present: () => onPath('bitcoind') || onPath('litecoind') || litecoind.some((path) => existsSync(path)),
    packages: ['litecoind'],
  },
]

const missing = needed.filter(({ present }) => !present())
const packages = missing.flatMap((item) => item.packages)
if (packages.length > 0) {
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (existsSync('/etc/debian_version') && process.getuid?.() === 0) {
    console.error(`Installing ${missing.map(({ what }) => what).join(', ')} for the tests: ${command}`)
    run('apt-get', ['update', '-qq'])
    run('apt-get', command.split(' ').slice(1))
  } else {
    console.error(
      `The tests can use ${missing.map(({ what }) => what).join(', ')}. On Debian: sudo ${command}`,
    )
  }
}

installCommandLines(fileURLToPath(new URL('../clients/cli/', import.meta.url)))

/** 800 MB on disk, in ten seconds or so the first time. Their own install scripts are not needed. */
function installCommandLines(folder: string): void {
  const wanted = versionsIn(join(folder, 'package-lock.json'))
  const present = versionsIn(join(folder, 'node_modules', '.package-lock.json'))
  if (Object.entries(wanted).every(([name, version]) => present[name] === version)) return
  console.error('Installing Claude Code and Codex for the tests, in test/clients/cli')
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', args, {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 300_000,
  })
  if (status !== 0) console.error('npm failed: the tests of Claude Code and Codex will be skipped.')
}

/** Of the packages for every system; those for others than this one are never installed. */
function versionsIn(lock: string): Record<string, string> {
  if (!existsSync(lock)) return {}
  const { packages } = JSON.parse(readFileSync(lock, 'utf8')) as {
    packages: Record<string, { version?: string; optional?: boolean }>
  }
  return Object.fromEntries(
    Object.entries(packages).flatMap(([name, { version, optional }]) =>
      version === undefined || optional ? [] : [[name, version]],
    ),
  )
}

function onPath(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0
}

function run(command: string, args: string[]): void {
  const { status } = spawnSync(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  if (status !== 0)
    console.error(`${command} failed with ${status}: tests that need ${packages.join(', ')} will be skipped.`)
}
