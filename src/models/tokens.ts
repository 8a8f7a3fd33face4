/**
 * How many tokens a request's text counts, for models whose tokeniser is public. Bytes bound every byte-level
 * tokeniser for free; this is asked only where the bytes of a request do not fit the balance.
 */

export type Tokenizer = 'o200k_base' | 'cl100k_base'

/** A request above this is bounded by its bytes: counting is work for a caller who may not be able to pay. */
export const MAX_COUNTED_BYTES = 1024 * 1024
/** Merging is quadratic in the length of a word, and words have no end: text is counted in pieces of at most this. */
const PIECE_CHARS = 1024
/** Pieces between two looks at everything else that this process has to do. */
const PIECES_AT_ONCE = 64
/** A JSON string as it is written (RFC 8259, section 7). */
const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/g
/** OpenAI's models by the encoding that OpenAI publishes for them ("tiktoken", model.py). */
const O200K = /^(?:openai\/)?(?:gpt-(?:4o|4\.1|4\.5|[5-9]|oss)|chatgpt-4o|o[134](?:-|$))/
const CL100K = /^(?:openai\/)?(?:gpt-4(?:-|$)|gpt-3\.5-|text-embedding-(?:3-|ada-002))/

/**
 * The tokeniser of a model: as configured, else by its upstream's name for it; null: not public, or not known.
 */
export function tokenizerOf(
  upstreamModel: string,
  format: 'openai' | 'anthropic',
  configured?: Tokenizer | 'none',
): Tokenizer | null {
  if (configured !== undefined) return configured === 'none' ? null : configured
  if (format !== 'openai') return null
  if (O200K.test(upstreamModel)) return 'o200k_base'
  return CL100K.test(upstreamModel) ? 'cl100k_base' : null
}

/**
 * The most tokens that a JSON body can count: its strings as the tokeniser counts them, everything else by its bytes.
 * Never more than its bytes. A body too large to be counted is its bytes.
 *
 * @param breathe lets everything else run for a moment.
 */
export async function countBody(
  tokenizer: Tokenizer,
  body: string,
  breathe: () => Promise<void>,
): Promise<number> {
  const bytes = Buffer.byteLength(body)
  if (bytes > MAX_COUNTED_BYTES) return bytes
  const count = await counterOf(tokenizer)
  let tokens = 0
  let outside = bytes
  let pieces = 0
  for (const [literal] of body.matchAll(STRING)) {
    outside -= Buffer.byteLength(literal)
    for (const piece of piecesOf(JSON.parse(literal) as string)) {
      // A cut can cost a token: what stood together may have been one.
      tokens += count(piece) + 1
      pieces += 1
      if (pieces % PIECES_AT_ONCE === 0) await breathe()
    }
  }
  return Math.min(bytes, tokens + outside)
}

/** Cut at a space where there is one; a cut elsewhere counts more, never less. */
function* piecesOf(text: string): Generator<string> {
  let at = 0
  while (text.length - at > PIECE_CHARS) {
    const space = text.lastIndexOf(' ', at + PIECE_CHARS)
    const end = space > at ? space : wholeCharacter(text, at + PIECE_CHARS)
    yield text.slice(at, end)
    at = end
  }
  yield text.slice(at)
}

/** Not between the two halves of a character. */
function wholeCharacter(text: string, end: number): number {
  const unit = text.charCodeAt(end)
  return unit >= 0xdc00 && unit <= 0xdfff ? end - 1 : end
}

const NOTHING_SPECIAL = { disallowedSpecial: new Set<string>() }

/** Loaded when first needed: a vocabulary takes megabytes, and a fifth of a second. */
async function counterOf(tokenizer: Tokenizer): Promise<(text: string) => number> {
  const { countTokens } =
    tokenizer === 'o200k_base'
      ? await import('gpt-tokenizer/encoding/o200k_base')
      : await import('gpt-tokenizer/encoding/cl100k_base')
  // What looks like a control token is text to the model that receives it, and is counted as text.
  return (text) => countTokens(text, NOTHING_SPECIAL)
}
