/**
 * Which addresses of an extended key are issued: all below its next index. Whoever takes some commits these statements,
 * so that no address is taken twice, in any number of processes.
 */
import { guard, type Statement, statement } from '../db/db.ts'
import type { BursarError } from '../errors.ts'

/** An extended key, and the kind of addresses that it has. */
export interface DerivingKey {
  readonly fingerprint: string
  readonly family: string
}

export interface DerivedAddress {
  readonly address: string
  readonly path: string
  readonly index: number
}

/** Makes the row of a key, where there is none. */
export function knowKey({ fingerprint, family }: DerivingKey, at: number): Statement {
  return statement(
    'INSERT INTO deriving_key (fingerprint, family, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
    [fingerprint, family, BigInt(at)],
  )
}

export interface TakeAddresses {
  /** The next index, as it was read. */
  readonly from: number
  readonly count: number
  /** Those that are watched from now on. None, where the key cannot be derived from. */
  readonly addresses: readonly DerivedAddress[]
  readonly at: number
  /** Thrown, and nothing taken, when the next index is another one by now. */
  readonly raced: BursarError
}

export function takeAddresses({ fingerprint, family }: DerivingKey, take: TakeAddresses): Statement[] {
  const { from, count, addresses, at, raced } = take
  const rows = addresses.map(({ address, path, index }) => [address, path, index])
  return [
    guard(
      '(SELECT next_index FROM deriving_key WHERE fingerprint = ?) = ?',
      [fingerprint, BigInt(from)],
      () => raced,
    ),
    statement('UPDATE deriving_key SET next_index = next_index + ? WHERE fingerprint = ?', [
      BigInt(count),
      fingerprint,
    ]),
    statement(
      `INSERT INTO address (address, family, fingerprint, derivation_index, path, created_at)
       SELECT value ->> 0, ?2, ?3, value ->> 2, value ->> 1, ?4 FROM json_each(?1)`,
      [JSON.stringify(rows), family, fingerprint, BigInt(at)],
    ),
  ]
}
