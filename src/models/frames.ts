/**
 * Server-sent events, cut into frames as they arrive (WHATWG HTML, "Server-sent events").
 *
 * The text is read as Latin-1, one character a byte: a frame or a UTF-8 character may be split anywhere, what is
 * written back is byte for byte what came, and everything that a meter looks for is ASCII.
 */

export interface Frames {
  /** Takes bytes; returns the frames that are complete now, each with the blank line that ends it. */
  add(chunk: Buffer): string[]
  /** Bytes of the frame that is not complete yet. */
  pending(): number
  /** Takes and returns what is left, without the blank line that would end it. */
  rest(): string
}

export function createFrames(): Frames {
  let text = ''
  let searched = 0
  return {
    add(chunk) {
      text += chunk.toString('latin1')
      const frames: string[] = []
      let start = 0
      for (;;) {
        const end = frameEnd(text, Math.max(start, searched))
        if (end === -1) break
        frames.push(text.slice(start, end))
        start = end
      }
      if (start > 0) text = text.slice(start)
      // A blank line may be split: its first newline has been seen already.
      searched = Math.max(0, text.length - 3)
      return frames
    },
    pending: () => text.length,
    rest() {
      const rest = text
      text = ''
      searched = 0
      return rest
    },
  }
}

/** After the first blank line, or -1. Lines end with LF or CRLF. */
function frameEnd(text: string, from: number): number {
  for (let at = text.indexOf('\n', from); at !== -1; at = text.indexOf('\n', at + 1)) {
    if (text.charCodeAt(at + 1) === LF) return at + 2
    if (text.charCodeAt(at + 1) === CR && text.charCodeAt(at + 2) === LF) return at + 3
  }
  return -1
}

const LF = 0x0a
const CR = 0x0d

/** A byte order mark, which may stand before the first frame. */
const MARK = '\u00ef\u00bb\u00bf'

/** The `data` of a frame; several lines are one text. Latin-1, as the frame. */
export function dataOf(frame: string): string {
  if (frame.startsWith('data: ') && frame.indexOf('\n') >= frame.length - 2) return frame.slice(6).trimEnd()
  return (frame.startsWith(MARK) ? frame.slice(MARK.length) : frame)
    .split(/\r?\n/)
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(line.charAt(5) === ' ' ? 6 : 5))
    .join('\n')
}

/** A frame worth a look: it may be an error (`isError`). Text is no match, because its quotes are escaped. */
export const MAY_BE_ERROR = /"error"\s*:\s*[{"]|"(?:object|type)"\s*:\s*"error"/

/** A frame to write: UTF-8 text as the Latin-1 that frames are kept in would break it, so it is bytes at once. */
export function frameOf(data: unknown, event?: string): Buffer {
  return Buffer.from(`${event === undefined ? '' : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`)
}

/** Bytes of the texts under these keys (each as `"key":`) in a frame's JSON, escapes included: for an estimate. */
export function textBytes(frame: string, keys: readonly string[]): number {
  let bytes = 0
  for (const key of keys) {
    for (let at = frame.indexOf(key); at !== -1; at = frame.indexOf(key, at + key.length)) {
      const start = at + key.length + (frame.charAt(at + key.length) === ' ' ? 1 : 0)
      if (frame.charCodeAt(start) !== 0x22) continue
      let end = frame.indexOf('"', start + 1)
      while (end !== -1 && isEscaped(frame, end)) end = frame.indexOf('"', end + 1)
      bytes += (end === -1 ? frame.length : end) - start - 1
    }
  }
  return bytes
}

/** A quote after an odd number of backslashes is part of the text. */
function isEscaped(frame: string, quote: number): boolean {
  let slashes = 0
  while (frame.charCodeAt(quote - 1 - slashes) === 0x5c) slashes++
  return slashes % 2 === 1
}
