/** `npm run crash -- --kills 100 [--seed N] [--cuts 2]`: kills the till again and again, and looks for what is lost. */
import { parseArgs } from 'node:util'
import { runCrash } from './driver.ts'

const { values } = parseArgs({
  options: { kills: { type: 'string' }, seed: { type: 'string' }, cuts: { type: 'string' } },
})
const number = (text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? otherwise : Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`expected a whole number, got ${text}`)
  return value
}
const seed = number(values.seed, Date.now() % 2 ** 31)
const print = (line: string): void => void process.stdout.write(`${line}\n`)
print(`seed ${seed}`)
const report = await runCrash({
  kills: number(values.kills, 20),
  seed,
  cutsPerKill: number(values.cuts, 2),
  print,
})
print(JSON.stringify(report, null, 2))
if (report.problems.length > 0) {
  print(`Something is wrong. Everything is kept in ${report.folder}; the same plan again: --seed ${seed}`)
  process.exitCode = 1
}
