/**
 * What a database is bound to, whoever opens it. Two tills that share one must agree on the extended keys (or
 * addresses would be issued by both), on the network behind each chain, on whether money is real, and on the price of
 * a credit (or the same credit would be bought cheaply at one and spent dearly at the other). Packs, margins, models
 * and rates may differ. A term binds once something rests on it; until then a mistake is corrected by starting again.
 */
import type { Chain } from '../chains/chain.ts'
import { type Db, guard, type Statement, statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import { formatUsd, type MicroUsd } from '../money.ts'
import type { Runtime } from '../runtime.ts'

export interface DeploymentContext {
  readonly db: Db
  readonly runtime: Pick<Runtime, 'now' | 'log'>
}

export interface Terms {
  readonly chains: readonly Chain[]
  readonly usdPerCredit: MicroUsd
}

/** One thing that a database is bound to. */
export interface Term {
  /** `key:<family>`, `network:<chain>`, `money` or `credit_usd`. */
  readonly name: string
  readonly value: string
}

interface Mismatch {
  readonly name: string
  readonly recorded: string
  readonly configured: string
  /** Something rests on it. */
  readonly bound: boolean
}

/** SQL: something rests on this row already. */
const IS_BOUND = `CASE
  WHEN deployment.name LIKE 'key:%' THEN
    EXISTS (SELECT 1 FROM deriving_key k WHERE k.family = substr(deployment.name, 5) AND k.next_index > 0)
  WHEN deployment.name LIKE 'network:%' THEN
    EXISTS (SELECT 1 FROM chain_cursor c WHERE c.chain = substr(deployment.name, 9))
  WHEN deployment.name = 'money' THEN EXISTS (SELECT 1 FROM chain_cursor)
  ELSE EXISTS (SELECT 1 FROM posting) OR EXISTS (SELECT 1 FROM invoice)
END`

/** What the configuration says, in the order in which it is compared. */
export function termsOf({ chains, usdPerCredit }: Terms): Term[] {
  const keys = new Map(chains.map((chain) => [`key:${chain.family}`, chain.keyFingerprint]))
  return [
    ...(chains[0] ? [{ name: 'money', value: chains[0].main ? 'main' : 'test' }] : []),
    ...chains.map(({ id, caip2 }) => ({ name: `network:${id}`, value: caip2 })),
    ...[...keys].map(([name, value]) => ({ name, value })),
    { name: 'credit_usd', value: usdPerCredit.toString() },
  ]
}

/**
 * Binds the database to the configuration, or finds that it is bound to another one.
 *
 * @throws {BursarError} invalid_config, naming both; database_unavailable
 */
export async function bindDeployment(ctx: DeploymentContext, terms: Terms): Promise<void> {
  const asked = termsOf(terms)
  if ((await mismatches(ctx.db, asked)).length === 0 && (await isRecorded(ctx.db, asked))) return
  const differs = new BursarError('invalid_config', 'The database is bound to other terms.')
  try {
    await ctx.db.commit([recordUnbound(asked, ctx.runtime.now()), agrees(asked, () => differs)])
  } catch (thrown) {
    if (thrown !== differs) throw thrown
    await checkDeployment(ctx, terms)
    throw differs
  }
}

/** Whether a till with this configuration would be refused; writes nothing. @throws {BursarError} as `bindDeployment` */
export async function checkDeployment({ db }: Pick<DeploymentContext, 'db'>, terms: Terms): Promise<void> {
  const [first] = (await mismatches(db, termsOf(terms))).filter(({ bound }) => bound)
  if (first) throw await refusal(db, terms, first)
}

/**
 * Takes the configuration's keys and price from now on, where they differ. Addresses of the old key stay watched.
 * Networks do not change: what is stored under a chain's name belongs to its network.
 *
 * @returns what was changed
 * @throws {BursarError} invalid_config: a network differs
 */
export async function acceptDeployment(ctx: DeploymentContext, terms: Terms): Promise<Term[]> {
  const asked = termsOf(terms)
  const differing = await mismatches(ctx.db, asked)
  const fixed = differing.find(({ name, bound }) => bound && !isReplaceable(name))
  if (fixed) throw await refusal(ctx.db, terms, fixed)
  const changed = asked.filter(({ name }) => differing.some((one) => one.name === name))
  const at = BigInt(ctx.runtime.now())
  await ctx.db.commit([
    recordUnbound(asked, ctx.runtime.now()),
    ...changed.map(({ name, value }) =>
      statement('UPDATE deployment SET value = ?, at = ? WHERE name = ?', [value, at, name]),
    ),
  ])
  for (const { name } of changed) {
    ctx.runtime.log.warn({ event: 'deployment_accepted', term: name }, 'A human accepted new terms.')
  }
  return changed
}

/** What is recorded, by name. */
export function readDeployment(db: Pick<Db, 'query'>): Promise<Term[]> {
  return db.query<{ name: string; value: string }>('SELECT name, value FROM deployment ORDER BY name')
}

/** A guard: rolls an invoice back when another till has bound the database to other terms since this one started. */
export function stillBound(chain: Chain, usdPerCredit: MicroUsd): Statement {
  const replaced = (): BursarError =>
    new BursarError('chain_unavailable', 'This till runs on terms that have been replaced since.', {
      remedy: 'The seller has to start it again.',
    })
  return agrees(termsOf({ chains: [chain], usdPerCredit }), replaced)
}

function agrees(asked: readonly Term[], otherwise: () => BursarError): Statement {
  return guard(
    `NOT EXISTS (SELECT 1 FROM json_each(?) t JOIN deployment d ON d.name = t.value ->> 0
       WHERE d.value <> t.value ->> 1)`,
    [pairs(asked)],
    otherwise,
  )
}

function pairs(asked: readonly Term[]): string {
  return JSON.stringify(asked.map(({ name, value }) => [name, value]))
}

function isReplaceable(name: string): boolean {
  return name.startsWith('key:') || name === 'credit_usd'
}

function recordUnbound(asked: readonly Term[], at: number): Statement {
  return statement(
    `INSERT INTO deployment (name, value, at) SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1) WHERE true
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at
     WHERE deployment.value <> excluded.value AND NOT (${IS_BOUND})`,
    [pairs(asked), BigInt(at)],
  )
}

async function mismatches(db: Pick<Db, 'query'>, asked: readonly Term[]): Promise<Mismatch[]> {
  const rows = await db.query<{ name: string; value: string; bound: bigint }>(
    `SELECT name, value, ${IS_BOUND} AS bound FROM deployment`,
  )
  const recorded = new Map(rows.map((row) => [row.name, row]))
  return asked.flatMap(({ name, value }) => {
    const found = recorded.get(name)
    if (found === undefined || found.value === value) return []
    return [{ name, recorded: found.value, configured: value, bound: found.bound === 1n }]
  })
}

async function isRecorded(db: Pick<Db, 'query'>, asked: readonly Term[]): Promise<boolean> {
  const names = new Set((await readDeployment(db)).map(({ name }) => name))
  return asked.every(({ name }) => names.has(name))
}

async function refusal(db: Pick<Db, 'query'>, { chains }: Terms, mismatch: Mismatch): Promise<BursarError> {
  const { name, recorded, configured } = mismatch
  const details = { term: name, recorded, configured }
  const [kind, of = ''] = name.split(':')
  if (kind === 'key') {
    const [first] = await db.query<{ address: string }>(
      'SELECT address FROM address WHERE fingerprint = ? ORDER BY derivation_index LIMIT 1',
      [recorded],
    )
    const ours = chains.find(({ family }) => family === of)?.recipient(0).address ?? ''
    const theirs = first ? `, whose first address is ${first.address}` : ''
    return new BursarError(
      'invalid_config',
      `This database issues addresses of the ${of} key ${recorded}${theirs}; keys.${of} is ${configured}, whose first address is ${ours}.`,
      {
        remedy: `One extended key serves one deployment. Put the old key back, or start a database of its own (BURSAR_DB); to move this one to the new key for good: bursar deployment accept.`,
        details,
      },
    )
  }
  if (kind === 'network') {
    return new BursarError(
      'invalid_config',
      `In this database the chain ${of} is the network ${recorded}; in the configuration it is ${configured}.`,
      {
        remedy: `Correct chains.${of}, or give the other network a name of its own.`,
        details,
      },
    )
  }
  if (kind === 'money') {
    const called = (value: string): string => (value === 'main' ? 'main networks' : 'test networks')
    return new BursarError(
      'invalid_config',
      `This database belongs to ${called(recorded)}; the configuration has ${called(configured)}.`,
      {
        remedy: 'Coins without value would buy real credits: start a database of its own (BURSAR_DB).',
        details,
      },
    )
  }
  return new BursarError(
    'invalid_config',
    `In this database a credit costs ${formatUsd(BigInt(recorded))} USD; credit.usd is ${formatUsd(BigInt(configured))}.`,
    {
      remedy: `Put credit.usd back: credits that were sold would change what they buy. To change it for good: stop every till, then bursar deployment accept.`,
      details,
    },
  )
}
