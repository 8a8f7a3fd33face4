/**
 * The real command lines that people point at a till: Claude Code and Codex, from a folder of their own
 * (test/clients/cli), each run in a home that is thrown away, with nobody to talk to but the till.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Ran } from './program.ts'

const FOLDER = fileURLToPath(new URL('../clients/cli/', import.meta.url))
/** They start in a second; this many on a machine that does ten other things. */
const PATIENCE_MS = 120_000

/** By the launchers that their packages bring for when install scripts are off. */
const LAUNCHERS = {
  claude: 'node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs',
  codex: 'node_modules/@openai/codex/bin/codex.js',
}
const BINARIES = {
  claude: 'node_modules/@anthropic-ai/claude-code-',
  codex: 'node_modules/@openai/codex-',
}
export type Cli = keyof typeof LAUNCHERS

/** Why there is none to test with; null when there is. */
export function missingCli(cli: Cli): string | null {
  const system = `${process.platform}-${process.arch}`
  const binary = [system, `${system}-musl`].some((one) => existsSync(join(FOLDER, BINARIES[cli] + one)))
  if (binary && existsSync(join(FOLDER, LAUNCHERS[cli]))) return null
  return `${cli} is not installed: npm ci --ignore-scripts --prefix test/clients/cli`
}

export interface Errand {
  /** Of the till, without a path. */
  readonly url: string
  readonly key: string
  readonly model: string
  readonly prompt: string
  /** Lets it run commands; it is not asked for anything else. */
  readonly tools?: boolean
  /** How often it asks again after a failure; by default as often as it does by itself. */
  readonly retries?: number
}

/** `claude -p`, by environment variables alone. */
export function runClaude({ url, key, model, prompt, tools = false, retries }: Errand): Promise<Ran> {
  return inNewHome((home) =>
    launch('claude', ['-p', prompt, '--model', model, ...(tools ? ['--allowedTools', 'Bash'] : [])], home, {
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_AUTH_TOKEN: key,
      // No telemetry, no updates, no reports: there is nobody else to talk to.
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      ...(retries === undefined ? {} : { CLAUDE_CODE_MAX_RETRIES: String(retries) }),
    }),
  )
}

/** `codex exec`, by a provider in its config.toml. */
export function runCodex({ url, key, model, prompt, tools = false, retries }: Errand): Promise<Ran> {
  return inNewHome(async (home) => {
    const folder = join(home, '.codex')
    await mkdir(folder)
    const limits =
      retries === undefined ? '' : `request_max_retries = ${retries}\nstream_max_retries = ${retries}\n`
    await writeFile(join(folder, 'config.toml'), codexConfig(url, model) + limits)
    // Its own sandbox needs a kernel that lets it make one.
    const free = tools ? ['--dangerously-bypass-approvals-and-sandbox'] : []
    return launch('codex', ['exec', '--skip-git-repo-check', ...free, prompt], home, { BURSAR_KEY: key })
  })
}

function codexConfig(url: string, model: string): string {
  return `model = "${model}"
model_provider = "bursar"
web_search = "disabled"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.bursar]
name = "Bursar"
base_url = "${url}/v1"
wire_api = "responses"
env_key = "BURSAR_KEY"
`
}

async function inNewHome(work: (home: string) => Promise<Ran>): Promise<Ran> {
  const home = await mkdtemp(join(tmpdir(), 'bursar-cli-'))
  try {
    return await work(home)
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function launch(
  cli: Cli,
  args: readonly string[],
  home: string,
  env: Readonly<Record<string, string>>,
): Promise<Ran> {
  const child = spawn(process.execPath, [join(FOLDER, LAUNCHERS[cli]), ...args], {
    cwd: home,
    env: { PATH: process.env['PATH'] ?? '', HOME: home, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: the launcher does not pass on every signal to what it has launched.
    detached: true,
  })
  const stop = () => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
  process.once('exit', stop)
  const timer = setTimeout(stop, PATIENCE_MS)
  const ended = once(child, 'close') as Promise<[number | null]>
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  clearTimeout(timer)
  process.removeListener('exit', stop)
  return { status, stdout, stderr }
}
