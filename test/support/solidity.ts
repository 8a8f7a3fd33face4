/**
 * Contracts of the tests, compiled from their Solidity. The compiler takes seconds to load, so what it said is kept in
 * node_modules/.cache, under the hash of what it was asked.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Abi } from 'viem'

export interface Artefact {
  readonly abi: Abi
  readonly bytecode: `0x${string}`
  /** What stands at the contract's address once it is deployed. */
  readonly runtime: `0x${string}`
}

type Artefacts = Readonly<Record<string, Artefact>>

interface SolcOutput {
  readonly errors?: readonly { severity: string; formattedMessage: string }[]
  readonly contracts?: Readonly<
    Record<
      string,
      Record<
        string,
        { abi: Abi; evm: { bytecode: { object: string }; deployedBytecode: { object: string } } }
      >
    >
  >
}

const require = createRequire(import.meta.url)
const CACHE = new URL('../../node_modules/.cache/bursar-contracts/', import.meta.url)
const compiled = new Map<string, Artefacts>()

/** A contract of a Solidity file. */
export function contractOf(file: URL, contract: string): Artefact {
  const artefacts = compiled.get(file.href) ?? artefactsOf(file)
  compiled.set(file.href, artefacts)
  const found = artefacts[contract]
  if (!found) throw new Error(`${basename(file.pathname)} has no ${contract}.`)
  return found
}

function artefactsOf(file: URL): Artefacts {
  const input = JSON.stringify({
    language: 'Solidity',
    sources: { [basename(file.pathname)]: { content: readFileSync(file, 'utf8') } },
    settings: {
      optimizer: { enabled: true, runs: 200 },
      outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
    },
  })
  const { version } = require('solc/package.json') as { version: string }
  const name = createHash('sha256').update(`${version}\n${input}`).digest('hex')
  const kept = new URL(`${name}.json`, CACHE)
  const known = read(kept)
  if (known) return known
  const artefacts = compile(input)
  keep(kept, artefacts)
  return artefacts
}

function read(path: URL): Artefacts | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Artefacts
  } catch {
    return null
  }
}

/** Whole or not at all: others may look at this moment. Where nothing can be written, it is compiled each time. */
function keep(path: URL, artefacts: Artefacts): void {
  try {
    mkdirSync(CACHE, { recursive: true })
    const partial = `${fileURLToPath(path)}.${randomUUID()}`
    writeFileSync(partial, JSON.stringify(artefacts))
    renameSync(partial, path)
  } catch {
    // Only slower.
  }
}

function compile(input: string): Artefacts {
  const solc = require('solc') as { compile(input: string): string }
  const output = JSON.parse(solc.compile(input)) as SolcOutput
  const broken = output.errors?.find((error) => error.severity === 'error')
  if (broken) throw new Error(broken.formattedMessage)
  const contracts = Object.values(output.contracts ?? {}).flatMap((file) => Object.entries(file))
  return Object.fromEntries(
    contracts.map(([name, { abi, evm }]) => [
      name,
      { abi, bytecode: `0x${evm.bytecode.object}`, runtime: `0x${evm.deployedBytecode.object}` },
    ]),
  )
}
