import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeFolder } from '../../src/files.ts'
import { shellWord } from '../../src/shell-word.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-files-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('a folder is made with those above it, for its owner only, and stays when it is there', () => {
  const path = join(folder, 'a', 'b c', 'd')
  makeFolder(path)
  for (const made of [path, join(folder, 'a')]) expect(statSync(made).mode & 0o777).toBe(0o700)
  writeFileSync(join(path, 'kept'), '')
  makeFolder(path)
  makeFolder('/')
  expect(existsSync(join(path, 'kept'))).toBe(true)
})

test('where a file stands, none is made', () => {
  writeFileSync(join(folder, 'file'), '')
  expect(() => makeFolder(join(folder, 'file'))).toThrow(/EEXIST/)
  expect(() => makeFolder(join(folder, 'file', 'below'))).toThrow(/ENOTDIR/)
})

const hasProc = process.platform === 'linux'
if (!hasProc) console.warn('A file system that makes no folders is skipped: /proc is one on Linux alone.')

test.skipIf(!hasProc)('a file system that makes none is an error, not an endless loop', () => {
  expect(() => makeFolder('/proc/none/below')).toThrow(/ENOENT/)
})

test.each([
  ['acme', 'acme'],
  ['acme/coder', 'acme/coder'],
  ['ac me', "'ac me'"],
  ["o'neill", "'o'\\''neill'"],
  ['$(id)', "'$(id)'"],
  ['', "''"],
])('%s is shown in a command as %s', (text, word) => expect(shellWord(text)).toBe(word))
