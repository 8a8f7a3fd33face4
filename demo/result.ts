/** What `npm run demo -- --json` prints. Credits are decimal strings with six decimals, amounts atomic units. */
export interface DemoResult {
  invoice: { id: string; rail: string; amount: string; amount_display: string; usd: string; address: string }
  payment: { chain: string; txid: string; block: number; confirmations: number }
  credits: { before: string; granted: string; charged: string; after: string }
  call: { model: string; upstream: string; held: string; charged: string; text: string }
  refusals: { budget: string; credits: string }
  reorg: { reversed: string; balance: string; regranted: string; final: string }
  rpc: string
  database: string
  ms: Record<string, number>
}
