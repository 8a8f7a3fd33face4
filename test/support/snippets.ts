/**
 * The TypeScript in the documentation, word for word, to be compiled and run as its readers would. A block may stand on
 * what its reader has: `<!-- ts given: declare const url: string -->` right before it declares that. One that cannot be
 * compiled says so: `<!-- ts skip: why -->`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { compiling } from './process.ts'
import type { Environment, Ran } from './program.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const HOOK = new URL('from-source.ts', import.meta.url).href
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

export interface Snippet {
  /** `docs/sdk.md:12`, where its code begins. */
  readonly name: string
  /** Of its first line in the document, from 1. */
  readonly line: number
  readonly code: string
  readonly given: string
  /** Why it is not compiled; null: it is. */
  readonly skip: string | null
}

const BLOCK =
  /^(?:<!-- ts (?<kind>given|skip):(?<said>[^]*?)-->\n\s*)?```(?:ts|typescript|tsx|mts)\b[^\n]*\n(?<code>[^]*?)^```$/gm

/** @param path from the root of the project */
export async function snippetsOf(path: string): Promise<Snippet[]> {
  const document = await readFile(join(ROOT, path), 'utf8')
  return snippetsIn(document, path)
}

export function snippetsIn(document: string, path: string): Snippet[] {
  return Array.from(document.matchAll(BLOCK), (match) => {
    const { kind, said = '', code = '' } = match.groups ?? {}
    const before = document.slice(0, match.index + match[0].lastIndexOf(code))
    const line = before.split('\n').length
    return {
      name: `${path}:${line}`,
      line,
      code,
      given: kind === 'given' ? said.trim() : '',
      skip: kind === 'skip' ? said.trim() : null,
    }
  })
}

/** The only one of a document that contains a text. */
export async function snippetWith(path: string, content: string): Promise<Snippet> {
  const [found, ...more] = (await snippetsOf(path)).filter(({ code }) => code.includes(content))
  if (!found || more.length > 0) throw new Error(`expected one block of ${path} with ${content}`)
  return found
}

/** What the compiler says of each, under the project's own strict options; the lines are those of the document. */
export async function compile(snippets: readonly Snippet[]): Promise<ReadonlyMap<Snippet, string[]>> {
  return inProject(async (folder) => {
    const config = {
      extends: join(ROOT, 'tsconfig.json'),
      // A block may show an import alone.
      compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
      include: ['*.ts'],
    }
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
    for (const [index, { line, code, given }] of snippets.entries()) {
      await writeFile(
        join(folder, `block${index}.ts`),
        `${'\n'.repeat(line - 1)}${code}\n${given}\nexport {}\n`,
      )
    }
    const { stdout, stderr } = await node([TSC, '-p', folder, '--pretty', 'false'], {}, folder)
    const lines = `${stdout}${stderr}`.split('\n').filter((each) => each !== '')
    const of = (index: number): string[] => lines.filter((each) => each.startsWith(`block${index}.ts(`))
    const told = new Map(snippets.map((snippet, index) => [snippet, of(index)]))
    const others = lines.filter((each) => !/^(?:block\d+\.ts\(|\s)/.test(each))
    if (others.length > 0) throw new Error(`the compiler says:\n${others.join('\n')}`)
    return told
  })
}

/** Runs a block as a program of its own. */
export async function runSnippet(
  { code }: Snippet,
  env: Environment,
  args: readonly string[] = [],
): Promise<Ran> {
  return inProject(async (folder) => {
    const file = join(folder, 'block.ts')
    await writeFile(file, code)
    return node(['--import', HOOK, file, ...args], env, folder)
  })
}

/** A project of a reader, with what this one has installed. */
async function inProject<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'bursar-snippets-'))
  try {
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function node(args: readonly string[], env: Environment, cwd: string): Promise<Ran> {
  const child = spawn(process.execPath, args, {
    env: compiling({ PATH: process.env['PATH'] ?? '', ...env }),
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'close') as Promise<[number | null]>
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  return { status, stdout, stderr }
}
