/**
 * The command line. Each command is one file under commands/, loaded when it is asked for: an MCP client waits for
 * `bursar mcp` to start, not for what it does not use.
 */
import { Command, CommanderError } from 'commander'
import { fail, type Registers, type Shell } from './commands/command.ts'
import { type BursarError, invalid } from './errors.ts'
import { stopSignal } from './stop-signal.ts'
import { readVersion } from './version.ts'

const COMMANDS: Readonly<Record<string, () => Promise<Registers>>> = {
  serve: async () => (await import('./commands/serve.ts')).serve,
  mcp: async () => (await import('./commands/mcp.ts')).mcp,
  purse: async () => (await import('./commands/purse.ts')).purse,
  wallet: async () => (await import('./commands/wallet.ts')).wallet,
  accounts: async () => (await import('./commands/accounts.ts')).accounts,
  agents: async () => (await import('./commands/agents.ts')).agents,
  freeze: async () => (await import('./commands/freeze.ts')).freeze,
  unfreeze: async () => (await import('./commands/freeze.ts')).unfreeze,
  signup: async () => (await import('./commands/signup.ts')).signup,
  keys: async () => (await import('./commands/keys.ts')).keys,
  payee: async () => (await import('./commands/payee.ts')).payee,
  prices: async () => (await import('./commands/prices.ts')).prices,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  chains: async () => (await import('./commands/chains.ts')).chains,
  deployment: async () => (await import('./commands/deployment.ts')).deployment,
  claim: async () => (await import('./commands/claim.ts')).claim,
  unassigned: async () => (await import('./commands/unassigned.ts')).unassigned,
  verify: async () => (await import('./commands/verify.ts')).verify,
  backup: async () => (await import('./commands/backup.ts')).backup,
  restore: async () => (await import('./commands/restore.ts')).restore,
}

/** They run until they are told to stop, and then end in order. */
const PROGRAMS: ReadonlySet<string> = new Set(['serve', 'mcp', 'purse'])
const asked = process.argv.slice(2).find((word) => Object.hasOwn(COMMANDS, word))

const shell: Shell = {
  env: process.env,
  cwd: process.cwd(),
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  signal: stopSignal(asked !== undefined && PROGRAMS.has(asked)),
}

// Whoever reads may have what it wanted (`bursar accounts list | head -1`): the command ends as it would have. To an MCP
// server its stdout is all there is.
for (const stream of asked === 'mcp' ? [process.stderr] : [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

const program = new Command('bursar')
  .description('Sells prepaid credits to AI agents for crypto, and lets agents spend them.')
  .version(readVersion())
  .option(
    '--config <path>',
    'configuration file (default: BURSAR_CONFIG, else bursar.config.json here or in the clone)',
  )
  .option('--json', 'answer with one JSON object')
  // What is wrong with a command line is said as every other mistake is.
  .exitOverride()
  .configureOutput({ outputError: () => undefined })
  .configureHelp({ showGlobalOptions: true })

// Help and mistakes need all of them.
for (const load of asked ? [COMMANDS[asked]] : Object.values(COMMANDS)) (await load?.())?.(program, shell)

try {
  await program.parseAsync()
} catch (thrown) {
  if (!(thrown instanceof CommanderError)) throw thrown
  // Help and version have been printed; help that was not asked for has said what is missing.
  const json = process.argv.includes('--json')
  if (thrown.message.startsWith('error: ')) fail(shell, mistake(thrown), json)
  else if (thrown.exitCode !== 0 && json) fail(shell, incomplete(), json)
  else process.exitCode = thrown.exitCode
}

/** The help that was printed is for people. */
function incomplete(): BursarError {
  return invalid('The command is not complete.', { remedy: seeHelp() })
}

function mistake({ message }: CommanderError): BursarError {
  const text = message.replace(/^error: /, '').replaceAll(/\s+/g, ' ')
  return invalid(`${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`, {
    remedy: seeHelp(),
  })
}

function seeHelp(): string {
  return `See: bursar ${asked === undefined ? '' : `${asked} `}--help`
}
