/** A purse that another user runs: the agent's side knows where it is, and nothing else. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectPurse } from '../../src/purse/client.ts'
import { runPurse } from '../../src/purse/main.ts'
import { drawWalletKey } from '../support/chance.ts'
import { NOWHERE } from '../support/nowhere.ts'
import { run } from '../support/program.ts'
import { configOf, type Folder, makeFolder, makeRuntime, makeTill, settingsOf } from './support/fixture.ts'

const till = makeTill()
const privateKey = drawWalletKey()
const { address } = privateKeyToAccount(privateKey)
const token = 'a token of a purse that runs elsewhere'
const stop = new AbortController()
let folder: Folder
let ended: Promise<void>
let url: string

beforeAll(async () => {
  folder = makeFolder()
  const home = join(folder.path, 'owner')
  mkdirSync(home)
  const config = configOf({
    rpc: NOWHERE,
    payees: [till],
    wallet: { private_key: privateKey },
    purse: { url: 'http://127.0.0.1:0', token },
  })
  url = await new Promise<string>((resolve, reject) => {
    ended = runPurse({
      settings: settingsOf(config, home),
      runtime: makeRuntime(),
      signal: stop.signal,
      report: (event) => {
        if (event.purse === 'ready') resolve(event.url)
      },
    })
    ended.catch(reject)
  })
})
afterAll(async () => {
  stop.abort()
  await ended
  folder.remove()
})

test('is used by its URL and token alone', async () => {
  const purse = connectPurse({
    settings: () => settingsOf({ purse: { url, token } }, folder.path),
    runtime: makeRuntime(),
  })
  try {
    expect(await purse.status()).toMatchObject({ address, payees: [{ key: till.payee }] })
  } finally {
    await purse.close()
  }
})

test('is asked by the doctor, and has its wallet for itself', async () => {
  const file = join(folder.path, 'bursar.config.json')
  const env = {
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: file,
    BURSAR_DATA: join(folder.path, 'agent'),
  }
  const doctor = async (place: string) => {
    writeFileSync(file, JSON.stringify({ purse: { url: place, token } }))
    // No till answers there: this is about the purse.
    const asked = await run(['doctor', '--json'], { ...env, BURSAR_URL: NOWHERE, BURSAR_KEY: 'bk_x' })
    const { findings } = JSON.parse(asked.stdout) as { findings: { name: string }[] }
    return findings.find(({ name }) => name === 'purse')
  }
  expect(await doctor(NOWHERE)).toMatchObject({ ok: false })
  expect(await doctor(url)).toMatchObject({ ok: true, detail: expect.stringContaining(address) })
  expect(await run(['wallet', 'address'], env)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('in a configuration of its own'),
  })
})
