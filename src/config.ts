/**
 * Reads bursar.config.json (JSON with comments) and the environment; the only reader of the environment.
 * A `${NAME}` inside a text value is replaced by that environment variable; one that is not set is an error.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import envPaths from 'env-paths'
import { type ParseError, parse, printParseErrorCode, visit } from 'jsonc-parser'
import type { z } from 'zod'
import { type ConfigFile, configSchema } from './config-schema.ts'
import { BursarError, invalidConfig } from './errors.ts'
import { escapePath, fileUrl } from './files.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface Settings {
  /** Absolute path of the file that was read, or null: all defaults. */
  readonly path: string | null
  readonly config: ConfigFile
  /** libSQL URL of the till's database. */
  readonly database: string
  /** Where keys, databases and locks live by default: the user's data folder. */
  readonly dataDir: string
  readonly host: string
  readonly port: number
  readonly logLevel: string
  /** A till somewhere else that `bursar mcp` is to use, instead of one in its own process. */
  readonly till?: { readonly url: string; readonly key: string | null }
  /** BURSAR_ADMIN_TOKEN: what a human, or a machine that watches for one, shows instead of a key. */
  readonly adminToken?: string
}

export interface ReadOptions {
  /** `--config`; otherwise BURSAR_CONFIG; otherwise the first of `folders` that has a bursar.config.json. */
  readonly path?: string | undefined
  readonly env: Environment
  /** Relative paths given by hand start here. */
  readonly cwd: string
  readonly folders: readonly string[]
  /** Also reads the wallet's key or password: for the commands of the purse. The till never sees either. */
  readonly wallet?: boolean
}

/** @throws {BursarError} invalid_config, naming every field that is wrong, with what was expected. */
export function readSettings({ path, env, cwd, folders, wallet = false }: ReadOptions): Settings {
  const named = path ?? nonEmpty(env, 'BURSAR_CONFIG')
  const file = named === undefined ? findConfig(folders) : resolve(cwd, named)
  const left = wallet ? [] : WALLET_SECRETS
  const parsed = parseConfig(file === null ? '{}' : readText(file), env, file ?? 'the defaults', left)
  const config = wallet ? parsed : withoutWalletSecret(parsed)
  const dataDir = dataFolder(nonEmpty(env, 'BURSAR_DATA'), cwd)
  const base = file === null ? cwd : dirname(file)
  const url = nonEmpty(env, 'BURSAR_URL')
  return {
    path: file,
    config: withAbsolutePaths(config, base),
    database: databaseUrl(nonEmpty(env, 'BURSAR_DB') ?? config.database, base, join(dataDir, 'bursar.db')),
    dataDir,
    host: nonEmpty(env, 'HOST') ?? '127.0.0.1',
    port: portOf(nonEmpty(env, 'PORT')),
    logLevel: logLevelOf(nonEmpty(env, 'BURSAR_LOG')),
    ...(url === undefined ? {} : { till: { url, key: nonEmpty(env, 'BURSAR_KEY') ?? null } }),
    ...adminToken(nonEmpty(env, 'BURSAR_ADMIN_TOKEN')),
  }
}

/** @throws {BursarError} invalid_config: without a home, each folder that Bursar is started in would have keys of its own. */
function dataFolder(given: string | undefined, cwd: string): string {
  if (given !== undefined) return resolve(cwd, given)
  const { data } = envPaths('bursar', { suffix: '' })
  if (isAbsolute(data)) return data
  throw invalidConfig(
    'There is no data folder: HOME (or XDG_DATA_HOME) is empty or no absolute path.',
    'Set BURSAR_DATA to the folder for keys, databases and locks.',
  )
}

const WALLET_SECRETS = ['purse.wallet.password', 'purse.wallet.private_key']

/**
 * Parses and checks a configuration text; `origin` names it in errors. The variables in the fields `left` are not
 * filled in.
 */
export function parseConfig(
  text: string,
  env: Environment,
  origin: string,
  left: readonly string[] = [],
): ConfigFile {
  const errors: ParseError[] = []
  // Some editors begin a file with a mark of its encoding.
  const written = text.replace(/^\uFEFF/, '')
  const raw: unknown = parse(written, errors, { allowTrailingComma: true })
  const first = errors[0]
  if (first) {
    throw invalidConfig(
      `${origin} is not valid JSON: ${printParseErrorCode(first.error)} in line ${lineAt(written, first.offset)}.`,
      'Correct that line.',
    )
  }
  refuseRepeated(written, origin)
  const missing: string[] = []
  const filled = fillVariables(raw, { env, left, missing }, '')
  if (missing.length > 0) {
    throw invalidConfig(
      `${origin} names environment variables that are not set: ${missing.join('; ')}.`,
      'Set them, or remove the fields.',
    )
  }
  const checked = configSchema.safeParse(filled)
  if (!checked.success) {
    throw invalidConfig(
      `${origin} has ${describeIssues(checked.error)}.`,
      'Correct these fields; bursar.config.schema.json says what each one takes.',
    )
  }
  return checked.data
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length
}

/** Of a field that is there twice, JSON keeps the last one and says nothing of the first. */
function refuseRepeated(text: string, origin: string): void {
  const open: Set<string>[] = []
  visit(
    text,
    {
      onObjectBegin: () => void open.push(new Set()),
      onObjectEnd: () => void open.pop(),
      onObjectProperty(name, offset) {
        const names = open.at(-1)
        if (names?.has(name)) {
          throw invalidConfig(
            `${origin} has the field ${JSON.stringify(name).slice(0, 80)} twice in one place: again in line ${lineAt(text, offset)}.`,
            'Make one of both.',
          )
        }
        names?.add(name)
      },
    },
    { allowTrailingComma: true },
  )
}

/**
 * A libSQL URL from a URL, a path, or nothing. A path is made absolute, and taken as it is, with whatever characters.
 *
 * @throws {BursarError} invalid_config: the URL of something else. It is not repeated: it may hold a password.
 */
export function databaseUrl(given: string | undefined, base: string, fallback: string): string {
  if (given === undefined) return fileUrl(fallback)
  if (/^(https?|libsql|wss?):\/\//.test(given)) return given
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(given)?.[1]
  if (scheme !== undefined && scheme !== 'file') {
    throw invalidConfig(
      `The database is a ${scheme}:// URL, which Bursar does not speak.`,
      'Give BURSAR_DB (or database in the configuration) a path, or a file:, http(s):// or libsql:// URL.',
    )
  }
  if (!given.startsWith('file:')) return fileUrl(resolve(base, given))
  const path = given.replace(/^file:(\/\/(?=\/))?/, '')
  return `file:${isAbsolute(path) ? path : resolve(escapePath(base), path)}`
}

interface Filling {
  readonly env: Environment
  /** Paths that stay as they are. */
  readonly left: readonly string[]
  /** Collects what is not set. */
  readonly missing: string[]
}

function fillVariables(value: unknown, filling: Filling, path: string): unknown {
  if (filling.left.includes(path)) return value
  if (typeof value === 'string') {
    return value.replaceAll(VARIABLE, (whole, key: string, fallback?: string) => {
      const found = nonEmpty(filling.env, key) ?? fallback
      if (found === undefined) filling.missing.push(`${key} (at ${path})`)
      return found ?? whole
    })
  }
  if (Array.isArray(value)) return value.map((item, i) => fillVariables(item, filling, `${path}[${i}]`))
  if (typeof value === 'object' && value !== null) {
    const fill = ([key, item]: [string, unknown]) => [
      key,
      fillVariables(item, filling, path ? `${path}.${key}` : key),
    ]
    return Object.fromEntries(Object.entries(value).map(fill))
  }
  return value
}

/** `${NAME}`, or `${NAME:-default}` */
const VARIABLE = /\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g

/** A key or password that stands in the file itself is dropped as well. */
function withoutWalletSecret(config: ConfigFile): ConfigFile {
  const purse = config.purse
  if (!purse?.wallet) return config
  const wallet = 'keystore' in purse.wallet ? { ...purse.wallet, password: '' } : { private_key: '' }
  return { ...config, purse: { ...purse, wallet } }
}

/**
 * A variable that some clients pass on literally (`${NAME}`) when it is unset counts as a mistake, not a value.
 * An empty one counts as unset.
 */
function nonEmpty(env: Environment, key: string): string | undefined {
  const value = env[key]
  if (value === undefined || value === '') return undefined
  if (/\$\{[^}]*\}/.test(value)) {
    throw invalidConfig(
      `The environment variable ${key} is the literal text ${value.slice(0, 60)}: whatever starts Bursar did not fill it in.`,
      `Set ${key} where the client is started, or write its value into the client's configuration.`,
    )
  }
  return value
}

function withAbsolutePaths(config: ConfigFile, base: string): ConfigFile {
  const purse = config.purse
  if (!purse?.wallet || !('keystore' in purse.wallet)) return config
  const wallet = { ...purse.wallet, keystore: resolve(base, purse.wallet.keystore) }
  return { ...config, purse: { ...purse, wallet } }
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

function logLevelOf(text = 'warn'): string {
  if (LOG_LEVELS.includes(text)) return text
  throw invalidConfig(
    `BURSAR_LOG must be one of ${LOG_LEVELS.join(', ')}, got ${JSON.stringify(text.slice(0, 40))}.`,
    'Set it to one of these, or leave it out: warn.',
  )
}

function portOf(text: string | undefined): number {
  if (text === undefined) return 8402
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw invalidConfig(
      `PORT must be a number from 0 to 65535, got ${JSON.stringify(text)}.`,
      'Set PORT to a free port.',
    )
  }
  return port
}

function adminToken(text: string | undefined): Pick<Settings, 'adminToken'> {
  if (text === undefined) return {}
  if (/^[\x21-\x7e]{16,}$/.test(text)) return { adminToken: text }
  throw invalidConfig(
    'BURSAR_ADMIN_TOKEN is too short to be a secret, or holds spaces.',
    'Use 16 random characters or more, such as: openssl rand -hex 24',
  )
}

function findConfig(folders: readonly string[]): string | null {
  return folders.map((folder) => join(folder, 'bursar.config.json')).find((file) => existsSync(file)) ?? null
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new BursarError('invalid_config', `Cannot read the configuration ${file}.`, {
      remedy: 'Give the path of a readable file with --config or BURSAR_CONFIG.',
      cause,
    })
  }
}

/** Up to eight problems, each as `path: what was expected`. Values are never echoed: they may be secrets. */
export function describeIssues(error: z.ZodError): string {
  const lines = error.issues.flatMap((issue) => flatten(issue, []))
  const shown = lines.slice(0, 8).join('; ')
  const more = lines.length > 8 ? `; and ${lines.length - 8} more` : ''
  return `${lines.length} ${lines.length === 1 ? 'problem' : 'problems'}: ${shown}${more}`
}

type Issue = z.core.$ZodIssue

function flatten(issue: Issue, above: PropertyKey[]): string[] {
  const path = [...above, ...issue.path]
  if (issue.code === 'invalid_union' && issue.message === 'Invalid input') {
    // The branch with the fewest complaints is the one that was meant.
    const meant = [...issue.errors].sort((a, b) => a.length - b.length)[0] ?? []
    if (meant.length > 0) return meant.flatMap((inner) => flatten(inner, path))
  }
  return [`${pathText(path)}: ${lowerFirst(issue.message)}`]
}

function pathText(path: readonly PropertyKey[]): string {
  if (path.length === 0) return 'the file'
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : (i ? '.' : '') + String(part)))
    .join('')
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
