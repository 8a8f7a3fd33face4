/** What failed, in few lines, from vitest's JSON report: the last words of a log that may be cut. */
import { readFileSync } from 'node:fs'
import { relative } from 'node:path'

interface Report {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: readonly {
      readonly fullName: string
      readonly status: string
      readonly failureMessages: readonly string[]
    }[]
  }[]
}

/** A message's first lines: what was expected, and the seed of a property that failed. */
const LINES = 6
const MOST = 12

const text = readFileSync(process.argv[2] ?? '', 'utf8')
const report: Report = text === '' ? { testResults: [] } : (JSON.parse(text) as Report)
const failed = report.testResults.flatMap(({ name, status, message, assertionResults }) => {
  const file = relative(process.cwd(), name)
  const tests = assertionResults
    .filter((test) => test.status === 'failed')
    .map(({ fullName, failureMessages }) => ({
      what: `${file} > ${fullName}`,
      why: failureMessages.join('\n'),
    }))
  return tests.length === 0 && status === 'failed' ? [{ what: file, why: message }] : tests
})
console.log(`\n== ${failed.length} failed`)
for (const { what, why } of failed.slice(0, MOST)) {
  const lines = why.split('\n').filter((line) => line.trim() !== '' && !/^\s+at /.test(line))
  console.log(`\n${what}`)
  for (const line of lines.slice(0, LINES)) console.log(`    ${line.slice(0, 300)}`)
}
if (failed.length > MOST) console.log(`\nand ${failed.length - MOST} more`)
if (failed.length === 0)
  console.log('No test: an error outside of them, or a process that ended. It is above.')
