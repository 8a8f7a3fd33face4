/**
 * Receiving branches whose private keys everyone has: the first three accounts, for EVM (m/44'/60'), native segwit
 * (m/84'/0') and taproot (m/86'/0'), of three mnemonics that stand in specifications and development tools. Each
 * is the start of a fingerprint as `keys.ts` makes it; test/chains/keys.test.ts derives them again.
 */
const WELL_KNOWN: ReadonlySet<string> = new Set([
  // abandon (11 times) about
  '783964c9942d4e7f',
  'd64759b632904e84',
  '19e57dc9496902c0',
  'f029e6b249141841',
  '87a6b9e859aba6b7',
  '89d8e6c11aaa28fe',
  '19512638e3d148c4',
  '2cd1519de9c19b4d',
  'a806d4a01d8e288a',
  // abandon (23 times) art
  '45fb38e45d0d24f5',
  '7b4405e60344e970',
  '3a576e7e9f2b2ff6',
  'e8fb0129138a72c7',
  'ef4999c192c4c715',
  '0165ee712395f739',
  '3d2247090b676e5f',
  '8c84cd1c4a47a5cf',
  '3502f42867383f5d',
  // test (11 times) junk: Anvil and Hardhat
  '24cdc448de3c96ea',
  'ef5c4ea088aa2fec',
  '540eac16aebbdc67',
  '8c63806424877e89',
  'f2f29aa1695d0263',
  'ff1a934e01db6918',
  'c39ecaa72aef7612',
  '10fe74a59fc2a76f',
  '1586342134791b4b',
])

export function isWellKnownKey(fingerprint: string): boolean {
  return WELL_KNOWN.has(fingerprint.slice(0, 16))
}
