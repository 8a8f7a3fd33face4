/** What a purse's process tells whoever started it. */
import type { Problem } from '../errors.ts'

export type PurseEvent =
  | {
      readonly purse: 'ready'
      readonly address: string
      readonly url: string
      readonly pid: number
    }
  | { readonly purse: 'failed'; readonly problem: Problem }
