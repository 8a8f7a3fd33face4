/**
 * Installs what the tests need and npm does not bring. On Debian, as root, it does so by itself; elsewhere it
 * prints the command. Tests whose node is missing then say so and are skipped, in CI they fail.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

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
