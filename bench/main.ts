/** `npm run bench -- <name> [options]`: each benchmark compares with a peer in the same run and prints ratios. */
interface Bench {
  run(args: string[]): Promise<void>
}

const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  gateway: () => import('./gateway/main.ts'),
  ledger: () => import('./ledger/main.ts'),
}

const [name = '', ...args] = process.argv.slice(2)
const bench = benches[name]
if (bench) {
  await (await bench()).run(args)
} else {
  console.error(`Which one? npm run bench -- ${Object.keys(benches).join(' | ')}`)
  process.exitCode = 1
}
