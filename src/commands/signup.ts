/**
 * `bursar signup`: an account at somebody's till. The key is made here; the till gets its hash, and could not spend
 * for its holder if it wanted to.
 */
import { rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { request } from 'undici'
import { z } from 'zod'
import { BursarError, type ErrorCode, invalid, STATUS } from '../errors.ts'
import { generateKey } from '../ledger/keys.ts'
import type { Runtime } from '../runtime.ts'
import { action, type Registers } from './command.ts'

interface SignupOptions {
  readonly out?: string
}

const TIMEOUT_MS = 20_000

export const signup: Registers = (program, shell) => {
  program
    .command('signup')
    .argument('<url>', 'where the till is, such as https://credits.example.com')
    .option('--out <file>', 'write BURSAR_URL and BURSAR_KEY there, and do not print the key')
    .description('open an account at a till, with a key that is made here')
    .action(
      action(shell, async ({ runtime, answer }, given: string, { out }: SignupOptions) => {
        const till = tillUrl(given)
        const { key, hash, prefix } = generateKey(runtime.random)
        const lines = `BURSAR_URL=${till}\nBURSAR_KEY=${key}\n`
        const file = out === undefined ? null : resolve(shell.cwd, out)
        // Before anything is asked for: a key that cannot be kept opens no account.
        if (file !== null) await keep(file, lines)
        try {
          const account = await openAccount(runtime, till, { key_hash: hash, key_prefix: prefix })
          const facts = { url: till, account, prefix }
          if (file !== null) {
            answer(
              { ...facts, file },
              `Account ${account} at ${till}, without credits so far.\n${file} has its key.`,
            )
          } else {
            answer({ ...facts, key, ...clientConfiguration(till, key) }, text(till, account, key, lines))
          }
        } catch (thrown) {
          if (file !== null) await rm(file, { force: true })
          throw thrown
        }
      }),
    )
}

/** @throws {BursarError} invalid_request */
function tillUrl(given: string): string {
  const url = URL.parse(given)
  if (url && /^https?:$/.test(url.protocol)) return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
  throw invalid('The address of a till begins with https:// or http://.')
}

async function keep(file: string, text: string): Promise<void> {
  try {
    // On the disk before the account is opened: nobody else has the key.
    await writeFile(file, text, { mode: 0o600, flag: 'wx', flush: true })
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST'
    throw new BursarError('conflict', `${file} ${exists ? 'exists already' : 'cannot be written'}.`, {
      remedy: 'Give the path of a new file with --out.',
      cause,
    })
  }
}

const opened = z.object({ id: z.string() })
const problem = z.object({ code: z.string(), detail: z.string(), remedy: z.string().optional() })

/** Asked twice where the first answer gets lost: the same key opens the same account. */
async function openAccount(runtime: Runtime, till: string, body: object): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await request(`${till}/v1/accounts`, {
        method: 'POST',
        dispatcher: runtime.network,
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify(body),
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
      })
      return idIn(await answer.body.text())
    } catch (thrown) {
      if (thrown instanceof BursarError) throw thrown
      if (attempt === 2) throw unreachable(till, thrown)
    }
  }
}

/** @throws {BursarError} what the till refused with, or that this is no till */
function idIn(text: string): string {
  const json = parsed(text)
  const account = opened.safeParse(json)
  if (account.success) return account.data.id
  const refused = problem.safeParse(json)
  if (refused.success && Object.hasOwn(STATUS, refused.data.code)) {
    const { code, detail, remedy } = refused.data
    throw new BursarError(code as ErrorCode, detail, remedy === undefined ? {} : { remedy })
  }
  throw new BursarError('upstream_error', 'What answered there is not a till of Bursar.', {
    remedy: 'Check the address; ask the seller whether sign-up is open.',
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function unreachable(till: string, cause: unknown): BursarError {
  return new BursarError('upstream_error', `The till at ${till} cannot be reached.`, {
    remedy: 'Check the address and the network, and try again.',
    cause,
  })
}

/** Of an MCP client: this program, with the till's address and the key. */
function clientConfiguration(till: string, key: string): object {
  return {
    mcpServers: {
      bursar: {
        command: 'node',
        args: [process.argv[1] ?? 'bursar', 'mcp'],
        env: { BURSAR_URL: till, BURSAR_KEY: key },
      },
    },
  }
}

function text(till: string, account: string, key: string, lines: string): string {
  return [
    `Account ${account} at ${till}, without credits so far.`,
    'Its key is shown only now; the till has nothing but its hash.',
    '',
    lines,
    'For an MCP client:',
    '',
    JSON.stringify(clientConfiguration(till, key), null, 2),
    '',
    'Or over HTTP, in Claude Code:',
    '',
    `claude mcp add --transport http bursar ${till}/mcp --header "Authorization: Bearer ${key}"`,
  ].join('\n')
}
