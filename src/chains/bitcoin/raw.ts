/**
 * Reads serialised blocks and transactions (BIP-144), as far as payments need: outputs and ids. Amounts arrive as
 * integers, which the node's JSON (decimal fractions) would not give.
 */
import { createHash } from 'node:crypto'
import { hex } from '@scure/base'

export interface RawOutput {
  readonly sats: bigint
  readonly script: Uint8Array
}

export interface RawTransaction {
  readonly outputs: readonly RawOutput[]
  /** Hashes on demand: only transactions that pay us need their id. */
  txid(): string
}

export interface RawBlock {
  readonly hash: string
  readonly parent: string
  /** Unix seconds, from the header. */
  readonly time: number
  readonly transactions: readonly RawTransaction[]
}

const HEADER_BYTES = 80

/** @throws {RangeError} the bytes are not one whole block */
export function parseBlock(bytes: Uint8Array): RawBlock {
  const reader = openReader(bytes)
  const header = reader.bytes(HEADER_BYTES)
  const view = new DataView(header.buffer, header.byteOffset)
  const count = reader.varint()
  const transactions: RawTransaction[] = []
  for (let i = 0; i < count; i += 1) transactions.push(readTransaction(reader))
  reader.end()
  return {
    hash: reversedHex(sha256x2([header])),
    parent: reversedHex(header.subarray(4, 36)),
    time: view.getUint32(68, true),
    transactions,
  }
}

/** @throws {RangeError} the bytes are not one whole transaction */
export function parseTransaction(bytes: Uint8Array): RawTransaction {
  const reader = openReader(bytes)
  const transaction = readTransaction(reader)
  reader.end()
  return transaction
}

function readTransaction(reader: ByteReader): RawTransaction {
  const version = reader.bytes(4)
  // A zero where the number of inputs stands marks a transaction with witnesses; its flag is 1.
  const segwit = reader.peek() === 0
  if (segwit && reader.bytes(2)[1] !== 1) throw new RangeError('unknown transaction flag')
  const start = reader.at()
  const inputs = reader.varint()
  for (let i = 0; i < inputs; i += 1) {
    reader.bytes(36)
    reader.bytes(reader.varint())
    reader.bytes(4)
  }
  const outputs: RawOutput[] = []
  const count = reader.varint()
  for (let i = 0; i < count; i += 1) {
    outputs.push({ sats: reader.uint64(), script: reader.bytes(reader.varint()) })
  }
  const body = reader.since(start)
  if (segwit) skipWitnesses(reader, inputs)
  const lockTime = reader.bytes(4)
  return { outputs, txid: () => reversedHex(sha256x2([version, body, lockTime])) }
}

function skipWitnesses(reader: ByteReader, inputs: number): void {
  for (let i = 0; i < inputs; i += 1) {
    const items = reader.varint()
    for (let item = 0; item < items; item += 1) reader.bytes(reader.varint())
  }
}

interface ByteReader {
  at(): number
  peek(): number | undefined
  /** A view, not a copy. */
  bytes(length: number): Uint8Array
  since(start: number): Uint8Array
  varint(): number
  uint64(): bigint
  end(): void
}

function openReader(data: Uint8Array): ByteReader {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  let at = 0
  const skip = (length: number) => {
    const start = at
    at += length
    if (at > data.length) throw new RangeError('the data ends early')
    return start
  }
  const reader: ByteReader = {
    at: () => at,
    peek: () => data[at],
    bytes(length) {
      const start = skip(length)
      return data.subarray(start, at)
    },
    since: (start) => data.subarray(start, at),
    varint() {
      const first = view.getUint8(skip(1))
      if (first < 0xfd) return first
      if (first === 0xfd) return view.getUint16(skip(2), true)
      if (first === 0xfe) return view.getUint32(skip(4), true)
      const large = view.getBigUint64(skip(8), true)
      if (large > BigInt(data.length)) throw new RangeError('a count beyond the data')
      return Number(large)
    },
    uint64: () => view.getBigUint64(skip(8), true),
    end() {
      if (at !== data.length) throw new RangeError('data is left over')
    },
  }
  return reader
}

function sha256x2(parts: readonly Uint8Array[]): Uint8Array {
  const inner = createHash('sha256')
  for (const part of parts) inner.update(part)
  return createHash('sha256').update(inner.digest()).digest()
}

/** Hashes are shown with their bytes in reverse. */
function reversedHex(bytes: Uint8Array): string {
  return hex.encode(bytes.toReversed())
}
