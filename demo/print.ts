/** What a person sees: one numbered step after the other, facts indented below it. */
import encodeQR from 'qr'

export interface Printer {
  title(text: string): void
  step(title: string): void
  fact(name: string, value: string): void
  line(text: string): void
  qr(text: string): void
}

/** Prints to `out`, or nothing at all when the result is wanted as JSON. */
export function printer(out: NodeJS.WriteStream, silent: boolean): Printer {
  const colours = out.isTTY && !process.env.NO_COLOR
  const paint = (code: number, text: string): string => (colours ? `\x1b[${code}m${text}\x1b[0m` : text)
  const write = (text: string): void => {
    if (!silent) out.write(`${text}\n`)
  }
  let steps = 0
  return {
    title: (text) => write(`\n${paint(1, text)}`),
    step(title) {
      steps += 1
      write(`\n${paint(36, String(steps).padStart(2))}  ${paint(1, title)}`)
    },
    fact: (name, value) => write(`    ${paint(2, name.padEnd(21))}${value}`),
    line: (text) => write(`    ${text}`),
    qr(text) {
      const picture = encodeQR(text, 'ascii', { ecc: 'low', border: 1 })
      write(
        picture
          .trimEnd()
          .split('\n')
          .map((row) => `    ${row}`)
          .join('\n'),
      )
    },
  }
}
